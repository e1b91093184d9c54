"""The names of the files in Envoy's folder. Pure."""

import re
from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True, slots=True)
class Paths:
    """Of one folder, which Envoy must see under the same path."""

    folder: str

    def of(self, name: str) -> str:
        """A file's path."""
        return f"{self.folder}/{name}"

    def token(self, environment: str) -> str:
        """The credential's: an SDS file."""
        return self.of(f"token-{environment}.json")

    def header(self, environment: str, header: str) -> str:
        """A further header's: an SDS file."""
        # Both may hold hyphens, and neither can hold an @.
        return self.of(f"header-{header.lower()}@{environment}.json")

    def until(self, environment: str) -> str:
        """The end of the token's life: an ECDS file."""
        return self.of(f"until-{environment}.json")

    def reason(self, environment: str) -> str:
        """Why there is no token, for clients."""
        return self.of(f"reason-{environment}.txt")

    def certificate(self, number: int) -> str:
        """A leaf certificate with its key: an SDS file."""
        return self.of(f"leaf-{number}.json")

    def trusted(self, authorities: str) -> str:
        """Whom an API's certificate may be from, beside those of the system. Envoy reads such a file once."""
        return self.of(f"trusted-{sha256(authorities.encode()).hexdigest()[:12]}.pem" if authorities else "trusted.pem")

    def routes(self, listener: str) -> str:
        """A listener's routes: an RDS file."""
        return self.of(f"routes-{re.sub('[^A-Za-z0-9.-]', '_', listener)}.json")

    @property
    def refusals(self) -> str:
        """The pipe that tells which tokens the APIs refuse."""
        return self.of("refusals")

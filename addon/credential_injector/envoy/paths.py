"""The names of the files in Envoy's folder. Pure."""

from dataclasses import dataclass


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
        return self.of(f"header-{environment}-{header.lower()}.json")

    def until(self, environment: str) -> str:
        """The end of the token's life: an ECDS file."""
        return self.of(f"until-{environment}.json")

    def reason(self, environment: str) -> str:
        """Why there is no token, for clients."""
        return self.of(f"reason-{environment}.txt")

    def certificate(self, number: int) -> str:
        """A leaf certificate with its key."""
        return self.of(f"leaf-{number}.pem")

    @property
    def refusals(self) -> str:
        """The pipe that tells which tokens the APIs refuse."""
        return self.of("refusals")

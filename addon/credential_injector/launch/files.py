"""The files by which a command's programs trust mitmproxy's certificate authority."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import certifi


@dataclass(frozen=True, slots=True)
class Files:
    """Where they are. They are in one folder, which whoever made it removes."""

    ca: Path
    """mitmproxy's certificate alone, in PEM."""
    bundle: Path
    """The same beside those that this machine trusts, in PEM."""


def write_files(folder: Path, ca: Path) -> Files:
    """Write them into an existing folder. `ca` is mitmproxy's certificate. Raises OSError."""
    bundle = folder / "bundle.pem"
    bundle.write_text(f"{_trusted().rstrip()}\n{ca.read_text('ascii')}", "ascii")
    return Files(ca, bundle)


def _trusted() -> str:
    """What this machine trusts, in PEM."""
    system = ssl.create_default_context().get_ca_certs(binary_form=True)
    pem = "".join(map(ssl.DER_cert_to_PEM_cert, system))
    return pem or Path(certifi.where()).read_text("ascii")

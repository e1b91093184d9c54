"""The certificate authorities that this machine's programs trust."""

import ssl
from pathlib import Path

import pytest

from credential_injector.launch import trusted as module
from credential_injector.launch.trusted import certificates, trusted
from tests.launch.conftest import certificate


def test_system() -> None:
    """Those of the system are certificates, which OpenSSL reads."""
    found = trusted([])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata="\n".join(found))
    assert len(context.get_ca_certs()) > 50


def test_named(tmp_path: Path) -> None:
    """A file's certificates come once, however often it is named, and whatever else stands in it."""
    company = certificate(tmp_path / "company.pem")
    alone = certificates(company)
    company.write_text(f"# the company's\n{company.read_text()}\n# again\n{company.read_text()}", "utf-8")
    assert trusted([company, company])[-1:] == alone
    assert len(trusted([company])) == len(trusted([])) + 1


@pytest.mark.parametrize("name", ["missing.pem", ".", "\0"])
def test_unreadable(tmp_path: Path, name: str) -> None:
    """What cannot be read names nothing: other programs would have complained before."""
    assert certificates(tmp_path / name) == []


def test_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has neither a file nor a store, certifi's are there."""
    monkeypatch.setattr(module, "_PLACES", ())
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: type("Paths", (), {"openssl_cafile": ""}))
    monkeypatch.setattr(ssl, "create_default_context", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    assert len(trusted([])) > 50

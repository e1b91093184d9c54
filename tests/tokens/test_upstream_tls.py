"""TLS to an API, against servers of every kind; that mitmproxy decides alike is shown in e2e/test_check.py."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from credential_injector.demo.servers import serve
from credential_injector.origins.origin import parse_origin
from credential_injector.tokens.upstream_tls import Trial, Trust, attempt
from tests.certificates import Authority, self_signed
from tests.fakes import answering

PUBLIC = Authority()


def tried(url: str, authority: Authority = PUBLIC, *, folder: Path, deadline: float = 30) -> Trial:
    (folder / "ca.pem").write_text(authority.certificate)
    return asyncio.run(attempt(parse_origin(url), Trust(str(folder / "ca.pem")), "qa.env", deadline))


@contextmanager
def serving(certificate: Path, client_authority: Path | None = None) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if client_authority is not None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_authority)

    def app(environ: object, start_response: Callable[..., object]) -> list[bytes]:
        start_response("200 OK", [])
        return []

    with serve(app, context) as origin:
        yield origin


@pytest.mark.parametrize(
    ("names", "days", "result", "told"),
    [
        (["127.0.0.1"], 2, "verified", ""),
        (["localhost", "127.0.0.1"], 2, "verified", ""),
        (["127.0.0.1"], -1, "NOT TRUSTED", "(certificate has expired); have it renewed"),
        (["api.example.com"], 2, "NOT TRUSTED", "check HOST in qa.env, or have the certificate issued for that name"),
        ([], 2, "NOT TRUSTED", "Hostname mismatch"),
    ],
)
def test_certificate(tmp_path: Path, names: list[str], days: int, result: str, told: str) -> None:
    """A certificate names the host, and not only as its common name, and has not expired."""
    with serving(PUBLIC.file(tmp_path, "localhost", *names, days=days)) as origin:
        trial = tried(origin if names else origin.replace("127.0.0.1", "localhost"), folder=tmp_path)
    assert (trial.result, trial.note) == (result, "")
    assert told in trial.problem
    assert bool(trial.problem) == bool(told)


def test_unknown_authority(tmp_path: Path) -> None:
    """An unknown authority is to be named to mitmproxy."""
    (tmp_path / "own.pem").write_text("".join(self_signed("127.0.0.1")))
    for certificate in (Authority().file(tmp_path, "company", "127.0.0.1"), tmp_path / "own.pem"):
        with serving(certificate) as origin:
            trial = tried(origin, folder=tmp_path)
        assert trial.result == "NOT TRUSTED"
        assert "--set ssl_verify_upstream_trusted_ca=ca.pem, here with --upstream-ca ca.pem" in trial.problem


def test_public_authorities(tmp_path: Path) -> None:
    """Without a file the authorities are mitmproxy's own."""
    with serving(PUBLIC.file(tmp_path, "server", "127.0.0.1")) as origin:
        assert asyncio.run(attempt(parse_origin(origin), Trust(), "qa.env")).result == "NOT TRUSTED"
    assert len(Trust().context.get_ca_certs()) > 100


def test_no_tls(tmp_path: Path) -> None:
    """A server without TLS is a mistake in the file."""
    with answering(b"HTTP/1.1 400 Whatever\r\n\r\n", reads=False) as (url, _):
        trial = tried(url.replace("http:", "https:").removesuffix("/token"), folder=tmp_path)
    assert trial.result == "NO TLS"
    assert "check scheme and port of HOST in qa.env" in trial.problem


def test_client_certificate(tmp_path: Path) -> None:
    """A server that wants a certificate may get mitmproxy's."""
    (tmp_path / "clients.pem").write_text(Authority().certificate)
    with serving(PUBLIC.file(tmp_path, "server", "127.0.0.1"), tmp_path / "clients.pem") as origin:
        trial = tried(origin, folder=tmp_path)
    assert (trial.result, trial.problem) == ("not reached", "")
    assert "client_certs" in trial.note


@contextmanager
def closed() -> Iterator[tuple[str, object]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"http://127.0.0.1:{port}/token", None


@pytest.mark.parametrize(
    ("server", "told"),
    [
        (closed, "(Connection refused)"),
        (lambda: answering(b"", reads=False), "its certificate was not seen"),
        (lambda: answering(60.0, reads=False), "(no answer within 0 s)"),
    ],
)
def test_unreachable(
    tmp_path: Path, server: Callable[[], AbstractContextManager[tuple[str, object]]], told: str
) -> None:
    """A server that cannot be reached is no mistake: mitmproxy may have an upstream proxy."""
    with server() as (url, _):
        origin = url.replace("http:", "https:").removesuffix("/token")
        trial = tried(origin, folder=tmp_path, deadline=0.3 if "0 s" in told else 30)
    assert (trial.result, trial.problem) == ("not reached", "")
    assert told in trial.note


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".invalid"])
def test_unknown_name(tmp_path: Path, host: str) -> None:
    """A name that is not known is told."""
    trial = tried(f"https://{host}", folder=tmp_path)
    assert (trial.result, trial.problem) == ("not reached", "")
    assert "check HOST in qa.env, and the network or VPN" in trial.note

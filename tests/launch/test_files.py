"""The files by which programs use the proxy and trust mitmproxy's certificate authority."""

import base64
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from credential_injector.launch.files import write_files
from credential_injector.launch.trusted import certificates, trusted
from tests.launch.conftest import certificate


def test_bundle(tmp_path: Path, ca: Path) -> None:
    """What the machine trusts, a company's CA that a variable names, and mitmproxy's."""
    company = certificate(tmp_path / "company" / "ca.pem")
    files = write_files(tmp_path, ca, {"REQUESTS_CA_BUNDLE": str(company)})
    assert certificates(files.bundle) == [*trusted([]), *certificates(company), *certificates(ca)]


def test_company_twice(tmp_path: Path, ca: Path) -> None:
    """A shell that is told twice names our bundle by then, and trusts the company's CA still."""
    company = certificate(tmp_path / "company.pem")
    folder = tmp_path / "env"
    folder.mkdir()
    first = write_files(folder, ca, {"SSL_CERT_FILE": str(company)})
    second = write_files(folder, ca, {"SSL_CERT_FILE": str(first.bundle)})
    assert certificates(company)[0] in certificates(second.bundle)


def test_new_ca(tmp_path: Path, ca: Path) -> None:
    """mitmproxy's certificate of yesterday is not trusted any more."""
    old = certificates(ca)
    first = write_files(tmp_path, ca, {})
    certificate(ca)
    second = write_files(tmp_path, ca, {"SSL_CERT_FILE": str(first.bundle), "NODE_EXTRA_CA_CERTS": str(first.ca)})
    assert not set(old) & set(certificates(second.bundle))
    assert certificates(ca)[0] in certificates(second.bundle)


def test_wgetrc(tmp_path: Path, ca: Path) -> None:
    """The user's own is part of it, once."""
    own = tmp_path / "own"
    own.write_text("tries = 3\n")
    first = write_files(tmp_path, ca, {"WGETRC": str(own)})
    expected = f"tries = 3\nca_certificate = {first.bundle}\n"
    assert first.wgetrc.read_text() == expected


@pytest.mark.skipif(sys.platform == "win32", reason="a shell's script")
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", ""])
def test_browser(tmp_path: Path, ca: Path, proxy: str) -> None:
    """A wrapper starts the browser that is there, with the proxy, the key of the CA and a profile of its own."""
    real = tmp_path / "it's here" / "chromium"
    real.parent.mkdir()
    real.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    real.chmod(0o700)
    programs = write_files(tmp_path, ca, {"PATH": str(real.parent)}).programs
    assert [one.name for one in programs.iterdir()] == ["chromium"]
    environ = {**os.environ, "https_proxy": proxy}
    told = subprocess.run(
        [str(programs / "chromium"), "about:blank"], env=environ, check=True, capture_output=True, text=True, timeout=30
    ).stdout.splitlines()
    public = x509.load_pem_x509_certificate(ca.read_bytes()).public_key()
    digest = hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    assert f"--ignore-certificate-errors-spki-list={base64.b64encode(digest).decode()}" in told
    assert (f"--proxy-server={proxy}" in told) == ("--proxy-bypass-list=<-loopback>" in told) == bool(proxy)
    assert f"--user-data-dir={programs / 'profile'}" in told
    assert told[-1] == "about:blank"


def test_preload(tmp_path: Path, ca: Path) -> None:
    """Written on demand only."""
    assert write_files(tmp_path, ca, {}).preload is None
    preload = write_files(tmp_path, ca, {}, preload=True).preload
    assert preload is not None
    assert sorted(one.name for one in preload.iterdir()) == ["node.cjs", "sitecustomize.py"]

"""What a command's process tree needs in its environment."""

from pathlib import Path

import pytest

from credential_injector.launch.files import Files, write_files
from credential_injector.launch.variables import rows, variables

PROXY = "http://127.0.0.1:8080"


@pytest.fixture
def files(tmp_path: Path, ca: Path) -> Files:
    return write_files(tmp_path, ca, {})


def test_proxy(files: Files) -> None:
    """Each name of the proxy's has its URL, and no host is left out, whatever was set before."""
    given = variables(PROXY, files, {"NO_PROXY": "api.qa.example.com", "HTTP_PROXY": "http://other:1"})
    names = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY", "all_proxy")
    assert {given[name] for name in names} == {PROXY}
    assert (given["NO_PROXY"], given["no_proxy"]) == ("", "")


def test_without_proxy(files: Files) -> None:
    """Where connections are led there, nothing names a proxy: a program would ask it twice."""
    given = variables(None, files, {})
    assert not [name for name in given if "proxy" in name.lower()]
    assert "proxyHost" not in str(given["JAVA_TOOL_OPTIONS"])
    assert given["SSL_CERT_FILE"] == str(files.bundle)


def test_unset(files: Files) -> None:
    """A folder of certificates comes before the file for OpenSSL, so it must not be set."""
    assert variables(PROXY, files, {"SSL_CERT_DIR": "/etc/ssl/certs"})["SSL_CERT_DIR"] is None


def test_each_file(files: Files) -> None:
    """Each variable that names a file names one that is there."""
    named = [Path(value) for value in variables(PROXY, files, {}).values() if value and value.startswith("/")]
    assert len(named) > 10
    assert [path for path in named if not path.exists()] == []


@pytest.mark.parametrize("name", ["PATH", "JAVA_TOOL_OPTIONS", "PHP_INI_SCAN_DIR", "NODE_OPTIONS", "PYTHONPATH"])
def test_kept(tmp_path: Path, ca: Path, name: str) -> None:
    """What is the user's own stays, beside ours."""
    files = write_files(tmp_path, ca, {}, preload=True)
    given = variables(PROXY, files, {name: "/of/the/user"})[name]
    assert given is not None
    assert "/of/the/user" in given
    assert str(tmp_path) in given


@pytest.mark.parametrize("before", [{}, {"PATH": "/usr/bin", "JAVA_TOOL_OPTIONS": "-Xmx1g", "SSL_CERT_FILE": "/c.pem"}])
def test_twice(tmp_path: Path, ca: Path, before: dict[str, str]) -> None:
    """Told twice, a shell has what it had after the first time."""
    files = write_files(tmp_path, ca, {}, preload=True)
    once = {name: value for name, value in variables(PROXY, files, before).items() if value is not None}
    again = {name: value for name, value in variables(PROXY, files, {**before, **once}).items() if value is not None}
    assert again == once


def test_besides(files: Files) -> None:
    """Node brings its own list, so it gets mitmproxy's certificate alone, and all where a company's was named."""
    assert variables(PROXY, files, {})["NODE_EXTRA_CA_CERTS"] == str(files.ca)
    assert variables(PROXY, files, {"NODE_EXTRA_CA_CERTS": "/c.pem"})["NODE_EXTRA_CA_CERTS"] == str(files.bundle)


def test_preload(tmp_path: Path, ca: Path) -> None:
    """What reaches into a program is set on demand only, and not where connections are led to the proxy."""
    reaching = {"NODE_OPTIONS", "PYTHONPATH"}
    assert not reaching & set(variables(PROXY, write_files(tmp_path, ca, {}), {}))
    preloaded = write_files(tmp_path, ca, {}, preload=True)
    assert reaching <= set(variables(PROXY, preloaded, {}))
    assert not reaching & set(variables(None, preloaded, {}))


def test_rows() -> None:
    """No name stands in two rows."""
    names = [name for row in rows(proxy=True, preload=True) for name in row.names]
    assert len(names) == len(set(names))

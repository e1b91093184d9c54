"""The files by which a command's programs use the proxy and trust mitmproxy's certificate authority."""

import base64
import hashlib
import os
import shutil
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from credential_injector.launch.java_trust_store import java_trust_store
from credential_injector.launch.trusted import certificates, trusted

# Variables that may name a company's CA, which a program needs still.
_NAMED = (
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "PIP_CERT"),
    *("AWS_CA_BUNDLE", "npm_config_cafile", "CARGO_HTTP_CAINFO", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "DENO_CERT"),
)
_BROWSERS = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    *("microsoft-edge", "microsoft-edge-stable", "brave-browser"),
)

_PRELOAD = Path(__file__).parent / "preload"

# Chromium reads no variable, and heeds the list of keys in a profile that is named only.
_BROWSER = """#!/bin/sh
# Starts the browser of this name with the proxy of the environment, a profile of its own, and mitmproxy's CA.
set -- --ignore-certificate-errors-spki-list={key} "$@"
[ -z "$https_proxy" ] || set -- "--proxy-server=$https_proxy" "--proxy-bypass-list=<-loopback>" "$@"
case " $* " in *" --user-data-dir="*) ;; *) set -- --user-data-dir={profile} --no-first-run "$@" ;; esac
exec {program} "$@"
"""

_PHP_INI = """curl.cainfo="{bundle}"
openssl.cafile="{bundle}"
auto_prepend_file="{prepended}"
"""

# PHP's streams read no variable.
_PHP_PREPENDED = """<?php
(function () {
    foreach (['http', 'https'] as $scheme) {
        $proxy = parse_url(getenv("{$scheme}_proxy") ?: '');
        if (!isset($proxy['host'], $proxy['port'])) {
            continue;
        }
        $options = ['proxy' => "tcp://{$proxy['host']}:{$proxy['port']}", 'request_fulluri' => true];
        if (isset($proxy['user'])) {
            $login = base64_encode(urldecode($proxy['user']) . ':' . urldecode($proxy['pass'] ?? ''));
            $options['header'] = "Proxy-Authorization: Basic $login";
        }
        stream_context_set_default(['http' => $options]);
    }
})();
"""


@dataclass(frozen=True, slots=True)
class Files:
    """Where they are. They are in one folder, which whoever made it removes."""

    ca: Path
    """mitmproxy's certificate alone, in PEM."""
    bundle: Path
    """The same beside those that this machine trusts, in PEM."""
    java_trust_store: Path
    """The same as the bundle, for Java."""
    wgetrc: Path
    """The user's, and the bundle."""
    php: Path
    """A folder of settings for PHP."""
    programs: Path
    """A folder of programs that start browsers."""
    preload: Path | None
    """A folder of what is loaded into Node and Python programs; None: nothing is."""


def write_files(folder: Path, ca: Path, inherited: Mapping[str, str] | None = None, *, preload: bool = False) -> Files:
    """Write them into an existing folder. `ca` is mitmproxy's certificate. Raises OSError."""
    before = os.environ if inherited is None else inherited
    # A shell that is told twice names our bundle, which may hold a certificate that mitmproxy has no more.
    kept = folder / "named.pem"
    named = {
        kept if file.parent == folder else file: None for name in _NAMED if (file := Path(before.get(name, ""))) != ca
    }
    kept.write_text("\n".join([one for file in named for one in certificates(file)]), "ascii")
    all_of_them = [*trusted([kept]), *certificates(ca)]
    files = Files(
        ca,
        folder / "bundle.pem",
        folder / "trusted.jks",
        folder / "wgetrc",
        folder / "php",
        folder / "programs",
        folder / "preload" if preload else None,
    )
    files.bundle.write_text("\n".join([*all_of_them, ""]), "ascii")
    files.java_trust_store.write_bytes(java_trust_store(map(ssl.PEM_cert_to_DER_cert, all_of_them)))
    files.wgetrc.write_text(f"{_own_wgetrc(before, files.wgetrc)}ca_certificate = {files.bundle}\n", "utf-8")
    _write_php(files)
    _write_programs(files, before.get("PATH", ""))
    if files.preload is not None:
        files.preload.mkdir(exist_ok=True)
        for name in ("node.cjs", "sitecustomize.py"):
            shutil.copyfile(_PRELOAD / name, files.preload / name)
    return files


def _own_wgetrc(before: Mapping[str, str], ours: Path) -> str:
    own = Path(before.get("WGETRC") or Path.home() / ".wgetrc")
    try:
        return own.read_text("utf-8", "surrogateescape").rstrip() + "\n" if own != ours else ""
    except OSError:
        return ""


def _write_php(files: Files) -> None:
    files.php.mkdir(exist_ok=True)
    prepended = files.php / "proxy.php"
    prepended.write_text(_PHP_PREPENDED, "utf-8")
    (files.php / "credential-injector.ini").write_text(
        _PHP_INI.format(bundle=files.bundle, prepended=prepended), "utf-8"
    )


def _write_programs(files: Files, path: str) -> None:
    """A program for each browser that is there: others must not seem to be."""
    files.programs.mkdir(exist_ok=True)
    # What a relative place holds depends on the folder in which the browser is started.
    places = os.pathsep.join(
        one for one in path.split(os.pathsep) if Path(one).is_absolute() and Path(one) != files.programs
    )
    found = {name: where for name in _BROWSERS if os.name == "posix" and (where := shutil.which(name, path=places))}
    if not found:
        return
    key = _key(files.ca)
    for name, where in found.items():
        program = files.programs / name
        program.write_text(
            _BROWSER.format(key=key, profile=_quoted(str(files.programs / "profile")), program=_quoted(where)), "utf-8"
        )
        program.chmod(0o700)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _key(ca: Path) -> str:
    """The hash of a certificate's key, as Chromium wants it (RFC 7469 section 2.4)."""
    from cryptography import x509  # here, as it takes a while
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_pem_x509_certificate(ca.read_bytes()).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()

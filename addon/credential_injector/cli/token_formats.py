"""Forms in which other programs ask for a credential. Pure."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from credential_injector.environments.environment import Environment
from credential_injector.origins.hosts import normalise_host
from credential_injector.origins.index import Destinations
from credential_injector.origins.origin import DEFAULT_PORTS

EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
NOT_FOUND = "credentials not found in native keychain"  # docker reads just these words


class NoAnswer(Exception):
    """The program that asks gets no credential, and this line."""


class Asked(NamedTuple):
    """What a program asks for, and what there is."""

    environment: Environment
    value: str
    """The token, or what stands in the file."""
    expires_at: float | None
    """Unix seconds; None: it does not expire."""
    username: str
    operation: str
    """`get`, `store`, `erase` or `list`, which git and docker append."""
    text: str
    """What came on standard input."""
    variables: Mapping[str, str]
    """Those of the process environment."""

    @property
    def login(self) -> tuple[str, str]:
        """A name and a password."""
        request = self.environment.token_request
        if request.grant_type == "basic":
            return request.value("USERNAME"), request.value("PASSWORD")
        return self.username, self.value

    def names(self, scheme: str, authority: str, path: str = "/") -> bool:
        """Whether the file names this server. A credential goes nowhere else."""
        host, _, port = authority.rpartition(":")
        if not (port.isascii() and port.isdecimal() and len(port) <= 5):
            host, port = authority, ""
        number = int(port) if port else DEFAULT_PORTS.get(scheme, 0)
        known = Destinations((origin, True) for origin in self.environment.origins)
        return known.find(scheme, normalise_host(host), number, path) is True


def exec_credential(asked: Asked) -> str:
    """Of client-go's credential plugins: client.authentication.k8s.io/v1, or v1beta1 where kubectl asks for that."""
    try:
        info = json.loads(asked.variables.get("KUBERNETES_EXEC_INFO", "{}"))
        wanted, server = info.get("apiVersion"), info.get("spec", {}).get("cluster", {}).get("server", "")
        parts = urlsplit(server)
    except (ValueError, AttributeError):
        wanted, server, parts = None, "", urlsplit("")
    if server and not asked.names(parts.scheme, parts.netloc, parts.path or "/"):
        raise NoAnswer(f"the cluster is not in HOST of {asked.environment.file}, so it gets no token")
    status = {"token": asked.value}
    if asked.expires_at is not None:
        status["expirationTimestamp"] = datetime.fromtimestamp(asked.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    version = wanted if wanted in EXEC_VERSIONS else EXEC_VERSIONS[0]
    return json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status})


def git(asked: Asked) -> str:
    """Of git's credential helpers (gitcredentials, git-credential): nothing where git asks for another server."""
    if asked.operation not in ("", "get"):
        return ""  # nothing is kept here, so there is nothing to store or to erase
    lines = [line.partition("=")[::2] for line in asked.text.splitlines()]
    given = dict(lines)
    path = "/" + given.get("path", "").lstrip("/")
    if not asked.names(given.get("protocol", ""), given.get("host", ""), path):
        return ""
    username, password = asked.login
    expires = [] if asked.expires_at is None else [f"password_expiry_utc={int(asked.expires_at)}"]
    # git 2.46 and newer can send what is no name and password.
    bearer = any(name == "wwwauth[]" and value.lower().startswith("bearer") for name, value in lines)
    if bearer and ("capability[]", "authtype") in lines and asked.environment.prefix == "Bearer":
        said = ["capability[]=authtype", "authtype=Bearer", f"credential={asked.value}", "ephemeral=1", *expires]
    else:
        said = [f"username={username}", f"password={password}", *expires]
    return "\n".join(said)


def docker(asked: Asked) -> str:
    """Of docker's credential helpers. Raises NoAnswer where docker asks for another server."""
    username, secret = asked.login
    if asked.operation == "list":
        return json.dumps({origin.base: username for origin in asked.environment.origins if not origin.wildcard})
    if asked.operation not in ("", "get"):
        return ""
    server = asked.text.strip()
    parts = urlsplit(server if "://" in server else f"https://{server}")
    if not asked.names(parts.scheme, parts.netloc.rpartition("@")[2], parts.path or "/"):
        raise NoAnswer(NOT_FOUND)
    return json.dumps({"ServerURL": server, "Username": username, "Secret": secret})


def npm(asked: Asked) -> str:
    """Lines of an .npmrc file."""
    key = "_auth" if asked.environment.prefix == "Basic" else "_authToken"
    places = (origin for origin in asked.environment.origins if not origin.wildcard)
    return "\n".join(f"//{str(origin).partition('://')[2]}/:{key}={asked.value}" for origin in places)


def netrc(asked: Asked) -> str:
    """Entries of a .netrc file, with which curl and others log in by name and password."""
    username, password = asked.login
    if any(character.isspace() for character in username + password):
        raise NoAnswer("netrc has no way to write a space; use another format")
    hosts = dict.fromkeys(origin.host for origin in asked.environment.origins if not origin.wildcard)
    return "\n".join(f"machine {host}\nlogin {username}\npassword {password}" for host in hosts)


FORMATS: Mapping[str, Callable[[Asked], str]] = {
    "exec-credential": exec_credential,
    "git": git,
    "docker": docker,
    "npm": npm,
    "netrc": netrc,
}
READS_INPUT = ("git", "docker")
"""Those that ask on standard input."""


def objection(environment: Environment, form: str) -> str | None:
    """Why this environment's credential cannot be had in a format; None where it can."""
    key = environment.place[1]
    if environment.token_request.value("DPOP") or environment.token_request.grant_type == "aws_sigv4":
        return "each request needs a signature of its own, which only the proxy makes"
    if environment.header.lower() != "authorization" or environment.prefix not in ("Bearer", "Basic"):
        key = "PREFIX" if environment.header.lower() == "authorization" else key
        return (
            f"--format {form} is for Authorization with Bearer or Basic, and {key} in {environment.file} says otherwise"
        )
    if form == "exec-credential" and environment.prefix != "Bearer":
        return "kubectl sends Bearer tokens only"
    return None

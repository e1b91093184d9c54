"""A curl command of a token request -> a draft. Nothing is run."""

import base64
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qsl, unquote_plus

from credential_injector.imports.draft import Draft, environment_name
from credential_injector.imports.settings import BASIC, Settings
from credential_injector.imports.source import Source
from credential_injector.imports.variables import Variables

_COMMAND = re.compile(r"\s*(?:\$\s+)?curl(?:\.exe)?\s")
_WITH_VALUE = {
    "-d": "data",
    "--data": "data",
    "--data-ascii": "data",
    "--data-binary": "data",
    "--data-raw": "data",
    "--data-urlencode": "urlencode",
    "-F": "form",
    "--form": "form",
    "-u": "user",
    "--user": "user",
    "-H": "header",
    "--header": "header",
    "--url": "url",
    "-X": "method",
    "--request": "method",
    "--cacert": "cacert",
    "-x": "proxy",
    "--proxy": "proxy",
    "-E": "cert",
    "--cert": "cert",
    "--key": "key",
    "-A": "",
    "--user-agent": "",
    "-b": "",
    "--cookie": "",
    "-e": "",
    "--referer": "",
    "-m": "",
    "--max-time": "",
    "--connect-timeout": "",
    "-o": "",
    "--output": "",
    "-w": "",
    "--write-out": "",
    "-c": "",
    "--cookie-jar": "",
    "--retry": "",
    "-T": "",
}
_GRANTS = {"urn:ietf:params:oauth:grant-type:token-exchange": "token_exchange", "refresh_token": "refresh_token"}


def is_curl(source: Source) -> bool:
    """Whether it is a curl command."""
    return source.document is None and _COMMAND.match(source.text) is not None


def drafts_of_curl(source: Source, others: Sequence[Source]) -> list[Draft]:
    """The one draft of the command. Raises NotImportable."""
    if others:
        raise others[0].wrong("", "is given beside a curl command; expected the command alone")
    given: dict[str, list[str]] = {}
    for option, value in _words(source):
        given.setdefault(option, []).append(value)
    if not given.get("url"):
        raise source.wrong("the command", "names no URL; expected that of the token endpoint")
    form = _form(given)
    if "grant_type" not in form:
        wrong = "sends no grant_type; expected a token request such as curl -d grant_type=client_credentials ... URL"
        raise source.wrong("the command", wrong)
    settings = Settings(Variables({}))
    grant = form.pop("grant_type")
    if grant in _GRANTS:
        settings.values["GRANT_TYPE"] = _GRANTS[grant]
    else:
        settings.grant(grant)
    settings.set("TOKEN_ENDPOINT", given["url"][0])
    user = (given.get("user") or [""])[0]
    for header in given.get("header", []):
        user = _header(settings, header) or user
    if user:
        name, _, secret = user.partition(":")
        # curl sends them as they are, and the add-on encodes them (RFC 6749 section 2.3.1).
        form |= {"client_id": unquote_plus(name), "client_secret": unquote_plus(secret)}
        settings.values |= BASIC
    settings.form(form)
    for option, key in (("cacert", "CA_FILE"), ("cert", "CLIENT_CERT_FILE"), ("key", "CLIENT_KEY_FILE")):
        if option in given:
            settings.left_out.append(f"the file after --{option}: write {key}= with its absolute path")
    name = environment_name(_host(given["url"][0]))
    settings.notes["HOST"] = "the API's origin is not in the command"
    return [Draft(name, settings.values, f"{source.name}: the curl command", tuple(settings.left_out), settings.notes)]


def _words(source: Source) -> list[tuple[str, str]]:
    """The options, by what they are for, with their values."""
    text = re.sub(r"[\\^`]\n", " ", source.text).strip().removeprefix("$ ")
    # What browsers copy may have $'...', in which \' and \uXXXX are escapes.
    text = re.sub(r"\$'((?:[^'\\]|\\.)*)'", lambda match: shlex.quote(_unescaped(match[1])), text)
    try:
        words = shlex.split(text)
    except ValueError:
        raise source.wrong("the command", "has a quote that is not closed; expected all of it") from None
    found, rest = [], words[1:]
    while rest:
        word = rest.pop(0)
        if word in ("|", "&&", ";", ">"):
            break
        name, is_joined, value = word.partition("=")
        if word in _WITH_VALUE:
            if not rest:
                raise source.wrong("the command", f"ends after {word}; expected its value")
            found.append((_WITH_VALUE[word], rest.pop(0)))
        elif word.startswith("--") and is_joined and name in _WITH_VALUE:
            found.append((_WITH_VALUE[name], value))
        elif not word.startswith("-"):
            found.append(("url", word))
        elif not word.startswith("--") and word[:2] in _WITH_VALUE and len(word) > 2:
            found.append((_WITH_VALUE[word[:2]], word[2:]))
    return found


def _form(given: dict[str, list[str]]) -> dict[str, str]:
    form: dict[str, str] = {}
    for text in given.get("data", []):
        form |= dict(parse_qsl(text, keep_blank_values=True))
    for text in (*given.get("urlencode", []), *given.get("form", [])):
        name, _, value = text.partition("=")
        form[name] = value
    # A value that curl would read from a file is not read here.
    return {name: value for name, value in form.items() if name and not value.startswith("@")}


def _header(settings: Settings, header: str) -> str:
    """Take a header. Returns the name and password of an Authorization header."""
    name, _, value = header.partition(":")
    value = value.strip()
    if name.lower() == "authorization":
        try:
            return base64.b64decode(value.removeprefix("Basic ")).decode() if value.startswith("Basic ") else ""
        except ValueError:
            return ""
    if name.lower() not in ("content-type", "accept", "user-agent", "accept-encoding", "content-length", "host"):
        settings.set(f"TOKEN_HEADER_{name.strip()}", value)
    return ""


def _unescaped(text: str) -> str:
    named = {"n": "\n", "t": "\t", "r": "\r"}
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    return re.sub(r"\\(.)", lambda match: named.get(match[1], match[1]), text)


def _host(url: str) -> str:
    host = Path(re.sub(r"^[a-z]+://", "", url)).parts[:1]
    return host[0].partition(":")[0] if host else ""

"""A curl command of a token request -> a draft. Nothing is run."""

import base64
import re
from collections.abc import Sequence
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from credential_injector.environments.file_names import printable
from credential_injector.imports.curl_options import options
from credential_injector.imports.draft import Draft, environment_name
from credential_injector.imports.settings import BASIC, Settings
from credential_injector.imports.shell_words import words
from credential_injector.imports.source import Source
from credential_injector.imports.variables import Variables

_COMMAND = re.compile(r"(?:\s*#[^\n]*\n)*\s*(?:\$\s+)?curl(?:\.exe)?\s")
LARGEST_COMMAND = 1 << 18  # characters
_GRANTS = {"urn:ietf:params:oauth:grant-type:token-exchange": "token_exchange", "refresh_token": "refresh_token"}


def is_curl(source: Source) -> bool:
    """Whether it is a curl command."""
    return source.document is None and _COMMAND.match(source.text[:LARGEST_COMMAND]) is not None


def drafts_of_curl(source: Source, others: Sequence[Source]) -> list[Draft]:
    """The one draft of the command. Raises NotImportable."""
    if others:
        raise others[0].wrong("", "is given beside a curl command; expected the command alone")
    given: dict[str, list[str]] = {}
    for option, value in _words(source):
        given.setdefault(option, []).append(value)
    if not given.get("url"):
        raise source.wrong("the command", "names no URL; expected that of the token endpoint")
    settings = Settings(Variables({}))
    form = _form(source, given, settings)
    if "grant_type" not in form:
        wrong = "sends no grant_type; expected a token request such as curl -d grant_type=client_credentials ... URL"
        raise source.wrong("the command", wrong)
    grant = form.pop("grant_type")
    if grant in _GRANTS:
        settings.values["GRANT_TYPE"] = _GRANTS[grant]
    else:
        settings.grant(grant)
    url = given["url"][0] if "://" in given["url"][0] else f"http://{given['url'][0]}"  # as curl takes it
    settings.set("TOKEN_ENDPOINT", url)
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
    name = environment_name(_host(url))
    settings.notes["HOST"] = "the API's origin is not in the command"
    return [Draft(name, settings.values, f"{source.name}: the curl command", tuple(settings.left_out), settings.notes)]


def _words(source: Source) -> list[tuple[str, str]]:
    """The options, by what they are for, with their values. Raises NotImportable."""
    if len(source.text) > LARGEST_COMMAND:
        raise source.wrong("the command", f"is longer than {LARGEST_COMMAND >> 10} KB; expected a token request")
    try:
        given = words(_COMMAND.sub("", source.text, count=1))
    except ValueError:
        raise source.wrong("the command", "has a quote that is not closed; expected all of it") from None
    try:
        return options(given)
    except ValueError as error:
        raise source.wrong("the command", f"ends after {printable(str(error))}; expected its value") from None


def _form(source: Source, given: dict[str, list[str]], settings: Settings) -> dict[str, str]:
    """The fields of the form. A value that curl would read from a file is not read here."""
    form: dict[str, str] = {}
    unread = "to be read from a file: write it into the environment file, or name its file in the key's _FILE"
    for text in given.get("data", []):
        if text.startswith("@"):
            settings.left_out.append(f"the form, which is {unread}")
        elif text.lstrip().startswith("{"):
            wrong = "sends JSON; expected a form (RFC 6749). A login by JSON is GRANT_TYPE=login: write that by hand"
            raise source.wrong("the command", wrong)
        else:
            form |= dict(parse_qsl(text, keep_blank_values=True))
    for kind in ("urlencode", "form", "form-string"):
        for text in given.get(kind, []):
            name, is_value, value = text.partition("=")
            if kind == "urlencode" and not is_value:
                name, is_file, _ = text.partition("@")
                if is_file:
                    settings.left_out.append(f"{name or 'the form'}, which is {unread}")
            elif kind == "form" and value[:1] in ("@", "<"):
                settings.left_out.append(f"{name}, which is {unread}")
            elif name:
                form[name] = value.partition(";type=")[0] if kind == "form" else value
    return form


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


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""

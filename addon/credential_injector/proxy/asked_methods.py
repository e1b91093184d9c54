"""The methods that a request asks for: some servers take another one than its own, if it names one. Pure."""

import json
import re
from collections.abc import Iterable, Sequence
from urllib.parse import unquote_plus

from credential_injector.environments.environment import Environment
from credential_injector.proxy.request import Head

_OVERRIDES = {"x_http_method_override", "x_http_method", "x_method_override"}
_PARAMETERS = {"_method", *_OVERRIDES}
# Rack split at semicolons, too, and some servers know no fragment. What is split too often names nothing by chance.
_BETWEEN = re.compile("[&;?#]")
# CGI and WSGI read "-" in a header's name as "_", and PHP these in a parameter's.
_READ_AS_UNDERSCORE = re.compile(r"[-. \[]")
_PART = re.compile(
    rb"""content-disposition:[^\r\n]*?\bname\s*=\s*["']?([^"';\r\n]+)[^\r\n]*\r?\n(?:[^\r\n]+\r?\n)*\r?\n([^\r\n]*)""",
    re.IGNORECASE,
)


def asked_methods(head: Head) -> set[str]:
    """Its own, and those in its headers and its query, in upper case."""
    named = [(field, value) for field, value in head.headers.fields if b"method" in field.lower()]
    others = [_text(value) for field, value in named if _is_one_of(_text(field), _OVERRIDES)]
    query = _text(head.path).partition("?")[2]
    return {_text(head.method).upper(), *_upper(others), *_upper(_in_form(query))}


def methods_in_body(kind: str, body: bytes) -> set[str]:
    """Those that a form or a JSON object names, in upper case: Rails, Laravel and Symfony obey `_method`.

    `kind` is the Content-Type. Rack reads a body without one as a form.
    """
    kind = kind.lower()
    if "multipart/" in kind:
        found = [_text(value) for name, value in _PART.findall(body) if _is_one_of(_text(name), _PARAMETERS)]
    elif "json" in kind:
        found = _in_json(body)
    else:
        found = _in_form(_text(body)) if not kind or "form-urlencoded" in kind else []
    return set(_upper(found))


def forbidden(methods: Sequence[str], path: str, environment: Environment) -> str | None:
    """Why METHODS of this environment does not let these methods in, at this path; None where it does."""
    allowed = environment.methods
    if allowed is None:
        return None
    method = next((one for one in methods if not allowed.allows(one, path)), None)
    if method is None:
        return None
    shown = method if method.isascii() and method.isalpha() else "its method"
    where = " at this path" if any(one == method for one, _ in allowed.below) else ""
    marked = "; PRODUCTION=true allows what METHODS names only" if environment.production else ""
    return f"{shown}{where} is not in METHODS={allowed} of {environment.file}{marked}"


def _in_form(form: str) -> list[str]:
    fields = (field.partition("=") for field in _BETWEEN.split(form) if "=" in field)
    return [_decoded(value) for name, _, value in fields if _is_one_of(_decoded(name), _PARAMETERS)]


def _in_json(body: bytes) -> list[str]:
    if b"_method" not in body.lower() and b"\\u" not in body:
        return []
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return []
    pairs = values.items() if isinstance(values, dict) else ()
    return [value for name, value in pairs if isinstance(value, str) and _is_one_of(name, _PARAMETERS)]


def _is_one_of(name: str, names: set[str]) -> bool:
    """Whether a server may read it as one of these."""
    return _READ_AS_UNDERSCORE.sub("_", name.partition("\0")[0].strip()).lower() in names


def _decoded(text: str) -> str:
    return unquote_plus(text, errors="surrogateescape")


def _upper(methods: Iterable[str]) -> Iterable[str]:
    return (method.strip().upper() for method in methods)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")

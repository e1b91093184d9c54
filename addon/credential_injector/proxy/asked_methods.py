"""The methods that a request asks for: some servers take another one than its own, if it names one. Pure."""

from collections.abc import Iterable, Sequence
from urllib.parse import parse_qsl

from credential_injector.environments.environment import Environment
from credential_injector.proxy.request import Head

_OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override")
_PARAMETERS = ("_method", *_OVERRIDES)


def asked_methods(head: Head) -> set[str]:
    """Its own, and those in its headers and its query, in upper case."""
    others = [_text(value) for field, value in head.headers.fields if _text(field).lower() in _OVERRIDES]
    query = _text(head.path).partition("?")[2].partition("#")[0]
    return {_text(head.method).upper(), *_upper(others), *_upper(_in_form(query))}


def methods_in_form(body: bytes) -> set[str]:
    """Those in a form (application/x-www-form-urlencoded), in upper case: Rails, Laravel and Symfony obey `_method`."""
    return set(_upper(_in_form(_text(body))))


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
    fields = parse_qsl(form, keep_blank_values=True, errors="surrogateescape")
    return [value for name, value in fields if name.lower() in _PARAMETERS]


def _upper(methods: Iterable[str]) -> Iterable[str]:
    return (method.strip().upper() for method in methods)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")

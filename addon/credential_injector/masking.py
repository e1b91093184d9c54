"""A credential -> the mask that is shown in its place: `<qa sha256:ab12cd34ef56>`. Pure."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from credential_injector.token_source import fingerprint

LONGEST_PREFIX = 8  # words; each one that is tried costs a hash


class Headers(Protocol):
    """The part of mitmproxy's headers that is needed here."""

    fields: tuple[tuple[bytes, bytes], ...]


class Mask(NamedTuple):
    """What is hidden, and what is shown instead."""

    secret: str
    shown: str


def mask_of(environment: str, secret: str, fingerprint: str) -> Mask:
    """The mask of an environment's credential."""
    return Mask(secret, f"<{environment} {fingerprint}>")


def find(headers: Headers, shown: str) -> str | None:
    """The credential with this fingerprint, without the prefix in its header; None where no header holds it."""
    for _, value in headers.fields:
        words = value.decode("latin-1").split(" ")
        for start in range(min(len(words), LONGEST_PREFIX)):
            if fingerprint(credential := " ".join(words[start:])) == shown:
                return credential
    return None


def carries(headers: Headers, text: str) -> bool:
    """Whether any header holds this text."""
    return any(text.encode() in value for _, value in headers.fields)


def replace(headers: Headers, old: str, new: str) -> None:
    """Put one text in another's place, in every header."""
    if carries(headers, old):
        headers.fields = tuple((name, value.replace(old.encode(), new.encode())) for name, value in headers.fields)


def masked(value: Any, masks: Iterable[Mask]) -> Any:
    """A text, or whatever is made of texts, with the masks in the secrets' place, however deep they are."""
    match value:
        case str():
            for secret, shown in masks:
                value = value.replace(secret, shown)
        case bytes():
            for secret, shown in masks:
                value = value.replace(secret.encode(), shown.encode())
        case dict():
            value = {key: masked(part, masks) for key, part in value.items()}
        case list() | tuple():
            value = type(value)(masked(part, masks) for part in value)
    return value


def drop(headers: Headers, text: str) -> None:
    """Remove every header that holds this text."""
    headers.fields = tuple((name, value) for name, value in headers.fields if text.encode() not in value)

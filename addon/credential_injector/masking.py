"""A credential -> the mask that is shown in its place: `<qa sha256:ab12cd34ef56>`. Pure."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from credential_injector.token_source import fingerprint

LONGEST_PREFIX = 8  # words; each one that is tried costs a hash
SHORTEST_SECRET = 8  # characters: what is shorter stands elsewhere by chance, and is masked in its own header only


class Headers(Protocol):
    """The part of mitmproxy's headers that is needed here."""

    fields: tuple[tuple[bytes, bytes], ...]


class Mask(NamedTuple):
    """What is hidden, and what is shown instead."""

    header: str
    """In which it was sent; lower case."""
    secret: str
    shown: str


def mask_of(environment: str, header: str, secret: str, fingerprint: str) -> Mask:
    """The mask of an environment's credential."""
    return Mask(header.lower(), secret, f"<{environment} {fingerprint}>")


def find(headers: Headers, environment: str, shown: str) -> Mask | None:
    """The mask of the credential with this fingerprint; None where no header holds it, behind a prefix or none."""
    for name, value in headers.fields:
        words = value.decode("latin-1").split(" ")
        for start in range(min(len(words), LONGEST_PREFIX)):
            if fingerprint(credential := " ".join(words[start:])) == shown:
                return mask_of(environment, name.decode("latin-1"), credential, shown)
    return None


def hide(headers: Headers, masks: Iterable[Mask]) -> None:
    """Put the masks in the credentials' place; where they are already, they stay."""
    for mask in masks:
        _replace(headers, mask, mask.shown, mask.secret)
        _replace(headers, mask, mask.secret, mask.shown)


def show(headers: Headers, masks: Iterable[Mask]) -> None:
    """Put the credentials back."""
    for mask in masks:
        _replace(headers, mask, mask.shown, mask.secret)


def drop(headers: Headers, masks: Iterable[Mask]) -> None:
    """Remove every header that holds one of the credentials, or its mask."""
    for mask in masks:
        for text in (mask.secret, mask.shown):
            headers.fields = tuple(field for field in headers.fields if not _holds(field, mask, text.encode()))


def carries(headers: Headers, mask: Mask) -> bool:
    """Whether the credential is in its header."""
    own, secret = mask.header.encode(), mask.secret.encode()
    return any(name.lower() == own and secret in value for name, value in headers.fields)


def masked(value: Any, masks: Iterable[Mask]) -> Any:
    """A text, or whatever is made of texts, with the masks in the secrets' place, however deep they are."""
    match value:
        case str():
            for mask in masks:
                if len(mask.secret) >= SHORTEST_SECRET:
                    value = value.replace(mask.secret, mask.shown)
        case bytes():
            for mask in masks:
                if len(mask.secret) >= SHORTEST_SECRET:
                    value = value.replace(mask.secret.encode(), mask.shown.encode())
        case dict():
            value = {key: masked(part, masks) for key, part in value.items()}
        case list() | tuple():
            value = type(value)(masked(part, masks) for part in value)
    return value


def _holds(field: tuple[bytes, bytes], mask: Mask, text: bytes) -> bool:
    name, value = field
    return text in value and (len(mask.secret) >= SHORTEST_SECRET or name.lower() == mask.header.encode())


def _replace(headers: Headers, mask: Mask, old: str, new: str) -> None:
    before, after = old.encode(), new.encode()
    if any(_holds(field, mask, before) for field in headers.fields):
        headers.fields = tuple(
            (field[0], field[1].replace(before, after)) if _holds(field, mask, before) else field
            for field in headers.fields
        )

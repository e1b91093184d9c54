"""The credential that an earlier run wrote into a request, by the record in the flow's metadata.

See `record.was_injected`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from credential_injector.oauth import fingerprints
from credential_injector.proxy import masking
from credential_injector.proxy.credentials.cookie import CookiePlace
from credential_injector.proxy.credentials.credential import Carrier, without_scheme
from credential_injector.proxy.credentials.fields import drop_header
from credential_injector.proxy.credentials.query import QueryPlace
from credential_injector.proxy.masking import Headers, Mask
from credential_injector.proxy.request_fields import PATH, RequestFields


def is_recorded(record: Mapping[str, Any]) -> bool:
    """Whether a record holds what the functions below need. What was read from a file may hold anything."""
    names = record.get("headers", [])
    return (
        all(isinstance(record.get(place, ""), str) for place in ("header", "query", "cookie"))
        and isinstance(names, list)
        and all(isinstance(name, str) for name in names)
    )


def take_back(request: Carrier, record: Mapping[str, Any]) -> None:
    """Remove an earlier credential, or its mask, from a request that is replayed: it may go elsewhere by now."""
    fields = RequestFields(request)
    for name in record.get("headers", []):
        drop_header(request.headers, name)
    token, length, masks = record["token"], record.get("token_length"), earlier_masks(request, record)
    # What is of another length is none of ours: a person has put it in the token's place, and it stays.
    if not isinstance(length, int) or any(
        len(mask.secret) == length or fingerprints.fingerprint(mask.secret) == token for mask in masks
    ):
        masking.drop(fields, masks)
    for field in ("", PATH.decode()):
        placeholder = masking.mask_of(record["environment"], field, "", token or masking.unnamed()).placeholder
        masking.drop(fields, [Mask("", placeholder, placeholder)])


def earlier_masks(request: Carrier, record: Mapping[str, Any]) -> list[Mask]:
    """The masks of an earlier credential, as far as it is not masked yet.

    Where no header holds the token's fingerprint (it has none, or was made with the key of another user), that is
    whatever stands in the token's own place.
    """
    environment, token, headers = record["environment"], record["token"], request.headers
    label = token or masking.unnamed()
    masks: list[Mask] = []
    if place := _place(record):
        masked = masking.mask_of(environment, "", "", label).placeholder
        for value in place.values(request):
            if value and value != masked:
                masks += [masking.mask_of(environment, field, form, label) for field, form in place.written(value)]
    elif token is not None and (found := masking.find(headers, environment, token)) is not None:
        masks.append(found)
    else:
        # The prefix may be any: all of the secret may stand behind each of the words.
        header = record.get("header", "Authorization")
        masks += _masks(headers, environment, header, label, lambda value: masking.endings(without_scheme(value)))
    for name in record.get("headers", []):
        masks += _masks(headers, environment, name, masking.unnamed(name), lambda value: [value])
    return masks


def _place(record: Mapping[str, Any]) -> QueryPlace | CookiePlace | None:
    """Where a credential went that went in no header."""
    if name := record.get("query"):
        return QueryPlace(name)
    return CookiePlace(name) if (name := record.get("cookie")) else None


def _masks(
    headers: Headers, environment: str, header: str, label: str, secrets: Callable[[str], list[str]]
) -> list[Mask]:
    """The masks of the secrets in this header, where they are not masked yet."""
    placeholder = masking.mask_of(environment, header, "", label).placeholder
    return [
        masking.mask_of(environment, header, secret, label)
        for value in masking.values(headers, header)
        if placeholder not in value
        for secret in secrets(value)
        if secret
    ]

"""The credential that an earlier run wrote into a request, by the record in the flow's metadata.

See `record.was_injected`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from credential_injector.oauth import fingerprints
from credential_injector.proxy import masking
from credential_injector.proxy.credentials.credential import Carrier, without_scheme
from credential_injector.proxy.credentials.fields import drop_header
from credential_injector.proxy.masking import Headers, Mask


def is_recorded(record: Mapping[str, Any]) -> bool:
    """Whether a record holds what the functions below need. What was read from a file may hold anything."""
    names = record.get("headers", [])
    return (
        isinstance(record.get("header", ""), str)
        and isinstance(names, list)
        and all(isinstance(name, str) for name in names)
    )


def take_back(request: Carrier, record: Mapping[str, Any]) -> None:
    """Remove an earlier credential, or its mask, from a request that is replayed: it may go elsewhere by now."""
    headers = request.headers
    for name in record.get("headers", []):
        drop_header(headers, name)
    token, length, masks = record["token"], record.get("token_length"), earlier_masks(headers, record)
    # What is of another length is none of ours: a person has put it in the token's place, and it stays.
    if not isinstance(length, int) or any(
        len(mask.secret) == length or fingerprints.fingerprint(mask.secret) == token for mask in masks
    ):
        masking.drop(headers, masks)
    placeholder = masking.mask_of(record["environment"], "", "", token or masking.unnamed()).placeholder
    masking.drop(headers, [Mask("", placeholder, placeholder)])


def earlier_masks(headers: Headers, record: Mapping[str, Any]) -> list[Mask]:
    """The masks of an earlier credential, as far as it is not masked yet.

    Where no header holds the token's fingerprint (it has none, or was made with the key of another user), that is
    whatever stands in the token's own header.
    """
    environment, token = record["environment"], record["token"]
    found = masking.find(headers, environment, token) if token is not None else None
    masks = [found] if found is not None else []
    if found is None:
        header, label = record.get("header", "Authorization"), token or masking.unnamed()
        # The prefix may be any: all of the secret may stand behind each of the words.
        masks += _masks(headers, environment, header, label, lambda value: masking.endings(without_scheme(value)))
    for name in record.get("headers", []):
        masks += _masks(headers, environment, name, masking.unnamed(name), lambda value: [value])
    return masks


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

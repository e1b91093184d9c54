"""AWS Signature Version 4: which region and service a host belongs to, and how AWS reads a URL. Pure."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from credential_injector.oauth.request import TokenRequest

GRANT = "aws_sigv4"
# Hosts of AWS: `dynamodb.eu-west-1.amazonaws.com`, `bucket.s3.eu-west-1.amazonaws.com`, `sts.amazonaws.com`.
_REGIONAL = re.compile(
    r"(?:.+\.)?([a-z0-9-]+)\.([a-z]{2}(?:-[a-z]+)+-\d)\.(?:amazonaws\.com(?:\.cn)?|on\.aws|api\.aws)"
)
_GLOBAL = re.compile(r"(?:.+\.)?([a-z0-9-]+)\.amazonaws\.com")
_SIGNED_AS: Mapping[str, str] = {"lambda-url": "lambda", "s3-accelerate": "s3", "dualstack": "s3"}


class Scope(NamedTuple):
    """For what a signature is good."""

    region: str
    service: str


def scope(request: TokenRequest, host: str) -> Scope | None:
    """The region and the service of a host; None where neither the file nor the host tells."""
    region, service = request.value("AWS_REGION"), request.value("AWS_SERVICE")
    if regional := _REGIONAL.fullmatch(host):
        service, region = service or regional[1], region or regional[2]
    elif anywhere := _GLOBAL.fullmatch(host):
        service, region = service or anywhere[1], region or "us-east-1"
    return Scope(region, _SIGNED_AS.get(service, service)) if region and service else None


def canonical(url: str, *, is_s3: bool) -> str:
    """The URL as AWS reads it, however a client has written it. botocore takes it as it is.

    S3 decodes the path and encodes it anew. For the others botocore encodes what was sent once more.
    """
    scheme, _, rest = url.partition("://")
    host, slash, target = rest.partition("/")
    path, _, query = f"{slash}{target}".partition("?")
    if is_s3:
        path = quote_from_bytes(unquote_to_bytes(_bytes(path)))
    pairs = (part.partition("=")[::2] for part in query.split("&") if part)
    made = "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in pairs)
    return f"{scheme}://{host}{path}{'?' if made else ''}{made}"


def is_installed() -> bool:
    """Whether botocore, which signs, is there."""
    return find_spec("botocore") is not None


def _encoded(text: str) -> str:
    """A name or a value of a query. A plus is a space, as in forms."""
    return quote_from_bytes(unquote_to_bytes(_bytes(text.replace("+", " "))), safe="")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

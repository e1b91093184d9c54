"""AWS Signature Version 4: which region and service a host belongs to. Pure."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import NamedTuple

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


def is_installed() -> bool:
    """Whether botocore, which signs, is there."""
    return find_spec("botocore") is not None

"""Refusals by an API, as the doctor sees them."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any

from credential_injector.diagnosis.doctor import diagnose
from credential_injector.diagnosis.evidence import Evidence
from credential_injector.environments.environment import Environment
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import AccessToken
from credential_injector.origins.origin import parse_origin

NOW = 1_795_775_000.0
HOUR = 3600.0
API = "https://api.qa.example.com"
REQUEST = TokenRequest("https://login.example.com/token", "abc", client_secret="s3cret-C4nary", scope="read write")
QA = Environment("qa", "envs/qa.env", (parse_origin(API),), REQUEST)
ORDERS = replace(QA, token_request=replace(REQUEST, audience=("https://orders.example.com",)))
RESOURCE = replace(QA, token_request=replace(REQUEST, resource=("urn:orders",)))
BOUND = replace(QA, token_request=replace(REQUEST, values=(("CLIENT_KEY", "key"),)))
ENTRA = replace(QA, token_request=replace(REQUEST, scope="api://orders/.default"))
PERSON = replace(QA, token_request=replace(REQUEST, grant_type="authorization_code"))
STATIC = replace(QA, token_request=TokenRequest(grant_type="static"))
BASIC = replace(QA, token_request=TokenRequest(grant_type="basic", values=(("PASSWORD", "c4nary-password"),)),
                prefix="Basic")  # fmt: skip
LOGIN = replace(QA, token_request=TokenRequest(f"{API}/session", grant_type="login"), header="", cookie="sid")
OPAQUE = "0paque-T0ken-C4nary"


@dataclass(frozen=True)
class Fields:
    """Headers, each value by its name, or several."""

    fields: Mapping[str, str | list[str]]

    def get_all(self, name: str) -> list[str]:
        value = self.fields.get(name, [])
        return [value] if isinstance(value, str) else value


def jwt(**claims: Any) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims)]
    return f"{parts[0]}.{parts[1]}.c2lnbmF0dXJl"


def bearer(**parameters: str) -> dict[str, str | list[str]]:
    """A WWW-Authenticate header."""
    return {"WWW-Authenticate": "Bearer " + ", ".join(f'{name}="{value}"' for name, value in parameters.items())}


def invalid(description: str) -> dict[str, str | list[str]]:
    return bearer(error="invalid_token", error_description=description)


def date(moment: float) -> dict[str, str | list[str]]:
    return {"Date": formatdate(moment, usegmt=True)}


def case(
    status: int,
    headers: Mapping[str, str | list[str]] | None = None,
    environment: Environment = QA,
    token: str | None = None,
    *,
    scope: str | None = None,
    claims: Mapping[str, Any] | None = None,
    **more: Any,
) -> Evidence:
    """The evidence of one answer, whose token is an opaque one or a JWT with these claims, and ends in an hour."""
    value = token or (OPAQUE if claims is None else jwt(**{"exp": NOW + HOUR, **claims}))
    access_token = AccessToken(value, NOW - 60, NOW + HOUR, scope=scope)
    return Evidence(environment, access_token, status, Fields(headers or {}), NOW, **{"url": f"{API}/orders", **more})


def told(evidence: Evidence) -> tuple[str, str, str, str] | None:
    """The code, the word, the cause and the advice of its diagnosis."""
    found = diagnose(evidence)
    return (found.code, found.word, found.cause, found.advice) if found is not None else None

"""AWS Signature Version 4 in a request's headers; botocore signs."""

import hashlib
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from credential_injector.environments.environment import Environment
from credential_injector.oauth import aws
from credential_injector.oauth.token import AccessToken
from credential_injector.proxy import masking, parameters
from credential_injector.proxy.credentials.credential import Again, Before, Carrier, Request, Signed, sent
from credential_injector.proxy.credentials.fields import drop_header, is_http2, set_header
from credential_injector.proxy.grpc_calls import Answer
from credential_injector.proxy.masking import Mask

_HASH = "X-Amz-Content-SHA256"
_TOKEN = "X-Amz-Security-Token"  # noqa: S105 - a header's name
_UNSIGNED = "UNSIGNED-PAYLOAD"
# What a URL holds that is signed itself. AWS refuses a request with two signatures.
_PRESIGNED = frozenset(
    f"x-amz-{name}".encode()
    for name in ("algorithm", "credential", "date", "expires", "signedheaders", "signature", "security-token")
)

# mitmweb's event log keeps debug records, and botocore's hold what is signed, with the session token.
logging.getLogger("botocore").setLevel(logging.WARNING)


_SIGNS = ("Authorization", "X-Amz-Date", _TOKEN, _HASH)
_OWN = frozenset(map(str.lower, _SIGNS))


class SigV4Credential:
    """As Credential. It is written when the request leaves, as the signature covers all of it."""

    signs = _SIGNS
    place = "Authorization"
    label = "AWS4"

    def __init__(self, environment: Environment) -> None:
        from botocore import auth  # late, as it takes a while, and here, so that no request waits for it
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        request = environment.token_request
        self._name, self._request = environment.name, request
        self._extra = environment.extra_headers
        self._session_token = request.value("AWS_SESSION_TOKEN")
        key_id, key = request.value("AWS_ACCESS_KEY_ID"), request.value("AWS_SECRET_ACCESS_KEY")
        self._key = Credentials(key_id, key, self._session_token or None)
        self._auth, self._aws_request = auth, AWSRequest

    def apply(self, request: Request, token: AccessToken) -> Before | None:  # noqa: ARG002 - a Credential's
        """As in Credential."""
        before = self.found_in(request)
        for name in self.signs[:3]:  # the client's hash may say how its body is coded
            drop_header(request.headers, name)
        if _is_presigned(request):
            request.path = parameters.without(request.path, _is_of_presigned)
        for name, value in self._extra:
            set_header(request.headers, (name.lower() if is_http2(request) else name).encode(), value.encode())
        return before

    def sign(self, request: Signed, token: AccessToken, url: str, now: float) -> str | None:  # noqa: ARG002 - as above
        """As in Credential. botocore reads the clock."""
        scope = aws.scope(self._request, urlsplit(url).hostname or "")
        if scope is None:
            return "nothing says the AWS region and service of its host; write AWS_REGION and AWS_SERVICE"
        sent_hash = _value(request, _HASH)
        if sent_hash.startswith("STREAMING-AWS4"):
            return "the client signs its body piece by piece, which nobody else can; let it send the body unsigned"
        is_s3 = scope.service == "s3"
        if request.content is None and not (is_s3 and url.startswith("https:")):
            return "its body streams, and only S3 over https takes a signature without the body"
        if is_s3 and "UNSIGNED-PAYLOAD" in sent_hash:
            digest = sent_hash  # it may say how the body is coded
        else:
            digest = _UNSIGNED if request.content is None else hashlib.sha256(request.content).hexdigest()
        headers = {**_signed_headers(request), _HASH: digest}
        made = self._aws_request(request.method.decode(), aws.canonical(url, is_s3=is_s3), headers)
        signer = self._auth.S3SigV4Auth if is_s3 else self._auth.SigV4Auth
        auth = signer(self._key, scope.service, scope.region)
        auth.payload = lambda _: digest
        auth.add_auth(made)
        for name in self.signs:
            if (value := made.headers.get(name)) is not None:
                set_header(request.headers, (name.lower() if is_http2(request) else name).encode(), value.encode())
        return None

    def learn(self, answer: Answer, url: str) -> None:
        """As in Credential."""

    def answered(self, answer: Answer, url: Callable[[], str]) -> Again:  # noqa: ARG002 - as above
        """As in Credential. The key stands in the file, and there is no other."""
        return Again.NO

    def found_in(self, request: Carrier) -> Before | None:
        """As in Credential."""
        value = _value(request, "Authorization") or ("AWS4-HMAC-SHA256" if _is_presigned(request) else "")
        return sent(value.encode("latin-1")) if value else None

    def remove(self, request: Carrier) -> None:
        """As in Credential."""
        for name in (*self.signs, *(name for name, _ in self._extra)):
            drop_header(request.headers, name)

    def is_in(self, request: Carrier, token: AccessToken) -> bool:  # noqa: ARG002 - as above
        """As in Credential. It is written last, so nobody can have changed it."""
        return True

    def masks(self, token: AccessToken) -> tuple[Mask, ...]:  # noqa: ARG002 - as above
        """As in Credential."""
        session = [(_TOKEN, self._session_token)] if self._session_token else []
        return tuple(
            masking.mask_of(self._name, name, value, masking.unnamed(name)) for name, value in (*session, *self._extra)
        )

    def fingerprint(self, token: AccessToken) -> str | None:  # noqa: ARG002 - as above
        """As in Credential."""
        return None

    def described(self, token: AccessToken) -> str:  # noqa: ARG002 - as above
        """As in Credential."""
        lines = ["Authorization: AWS4-HMAC-SHA256 <signature>", *(f"{name}: <secret>" for name, _ in self._extra)]
        return "\n".join([*lines, *([f"{_TOKEN}: <secret>"] if self._session_token else [])])

    def record(self, token: AccessToken, into: dict[str, Any]) -> None:  # noqa: ARG002 - as above
        """As in Credential."""
        into["header"] = self.place
        into["headers"] = [*self.signs[1:], *(name for name, _ in self._extra)]


def _signed_headers(request: Signed) -> dict[str, str]:
    """Those that AWS wants to be signed. What proxies may change on the way is not among them."""
    headers: dict[str, str] = {}
    for field, value in request.headers.fields:
        name = field.decode("latin-1").lower()
        if name in {"content-type", "host"} or (name.startswith("x-amz-") and name not in _OWN):
            text = value.decode("latin-1")
            headers[name] = f"{headers[name]},{' '.join(text.split())}" if name in headers else text
    return headers


def _is_presigned(request: Carrier) -> bool:
    # A request without such a word is told from others without taking its query apart.
    return b"-signature=" in request.path.lower() and any(
        name.lower() == b"x-amz-signature" for name, _ in parameters.read(request.path)
    )


def _is_of_presigned(parameter: bytes) -> bool:
    return parameters.decoded(parameter.partition(b"=")[0]).lower() in _PRESIGNED


def _value(request: Carrier, name: str) -> str:
    lower = name.lower().encode()
    return next((value.decode("latin-1") for field, value in request.headers.fields if field.lower() == lower), "")

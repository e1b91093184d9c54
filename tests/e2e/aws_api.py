"""An API that verifies AWS Signature Version 4, by the published steps and without botocore."""

import hashlib
import hmac
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

KEY_ID, KEY, SESSION = "AKIACANARYKEYID", "canary-aws-secret/key+1", "canary-aws-session/token=="


def encoded(text: str) -> str:
    """A name or a value of a query as AWS reads and writes it: a plus is a space."""
    return quote_from_bytes(unquote_to_bytes(text.replace("+", " ")), safe="")


def normal(path: str) -> str:
    """RFC 3986 section 5.2.4, and one slash for several."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == ".." and kept:
            kept.pop()
        elif part not in {"", ".", ".."}:
            kept.append(part)
    return f"/{'/'.join(kept)}{'/' if kept and path.endswith('/') else ''}"


class AwsApi(ThreadingHTTPServer):
    """`received` has the line of each request, `refused` why it was refused. With `tls` it is one of https."""

    daemon_threads = True

    def __init__(self, service: str, *, session: bool = False, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service, self.session, self.tls = service, session, tls
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.refused: list[str] = []

    @property
    def url(self) -> str:
        return f"http{'' if self.tls is None else 's'}://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "AwsApi":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def wrong(self, method: str, target: str, headers: dict[str, str], body: bytes) -> str:
        """What is wrong with a request; empty where it is signed rightly."""
        kind, _, rest = headers.get("authorization", "").partition(" ")
        if kind != "AWS4-HMAC-SHA256":
            return "no signature"
        parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
        key_id, day, region, service, _ = parts["Credential"].split("/")
        if (key_id, service, region) != (KEY_ID, self.service, "eu-west-1"):
            return f"scope {key_id} {service} {region}"
        moment = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs((datetime.now(UTC) - moment).total_seconds()) > 60:
            return "time"
        if self.session and headers.get("x-amz-security-token") != SESSION:
            return "session token"
        signed = parts["SignedHeaders"].split(";")
        if "x-amz-signature" in target.lower():
            return "two ways of signing"
        if "host" not in signed or [name for name in headers if name.startswith("x-amz-") and name not in signed]:
            return "headers that are not signed"
        digest = headers.get("x-amz-content-sha256", hashlib.sha256(body).hexdigest())
        # S3 takes what says of itself that it is not signed; TLS covers it then.
        unsigned = self.service == "s3" and self.tls is not None and "UNSIGNED-PAYLOAD" in digest
        if digest != hashlib.sha256(body).hexdigest() and not unsigned:
            return "hash of the body"
        path, _, query = target.partition("?")
        # S3 reads the key and encodes it anew; the others encode once more what was sent, without // and dots.
        path = quote_from_bytes(unquote_to_bytes(path)) if self.service == "s3" else quote(normal(path), safe="/~")
        pairs = sorted(
            (encoded(n), encoded(v)) for n, _, v in (part.partition("=") for part in query.split("&") if part)
        )
        canonical = "&".join(f"{name}={value}" for name, value in pairs)
        values = {name: " ".join(headers[name].split()) for name in signed}
        lines = [method, path, canonical, *(f"{name}:{value}" for name, value in values.items())]
        request = "\n".join([*lines, "", ";".join(signed), digest])
        scope = f"{day}/{region}/{service}/aws4_request"
        text = "\n".join(
            ["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hashlib.sha256(request.encode()).hexdigest()]
        )
        key = f"AWS4{KEY}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        right = hmac.new(key, text.encode(), "sha256").hexdigest()
        return "" if right == parts["Signature"] else "signature"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: AwsApi

    def _answer(self) -> None:
        headers = {name.lower(): ",".join(self.headers.get_all(name, [])) for name in self.headers}
        body = (
            b"".join(self._chunks())
            if "transfer-encoding" in headers
            else self.rfile.read(int(headers.get("content-length", 0)))
        )
        why = self.server.wrong(self.command, self.path, headers, body)
        self.server.received.append((f"{self.command} {self.path}", headers, body))
        if why:
            self.server.refused.append(why)
        content = why.encode() or b"signed"
        if self.command == "PUT" and "amz-sdk-request" in headers and not why:
            content = b""  # boto3 takes what is no XML for an error
        self.send_response(403 if why else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - names of the base class

    def log_message(self, *_: Any) -> None:
        pass

"""Requests that are odd but legal, and answers to them."""

import random
from dataclasses import dataclass

from tests.e2e.wire import Fields, Message

THRESHOLD = 1024  # bytes of a body that is streamed

# mitmproxy takes what does not begin with three letters for another protocol than HTTP.
METHODS = b"GET HEAD POST PUT PATCH DELETE OPTIONS PROPFIND VERSION-CONTROL XYZ!#$%&'*+-.^_`|~0".split()
PATHS = [
    b"", b"?", b"?q=a+b&q=%20&&=", b"%2e%2e/a%2Fb%5c", b"a/../b/./c//d", b";p=1,2;q", b"caf%C3%A9/%FF%00", b"%zz%",
    b"~-._!$&'()*+,;=:@", b"?next=https://other.test/%3Fa", b"x" * 4000,
]  # fmt: skip
FIELDS: Fields = [
    (b"Accept", b"*/*;q=0.1, text/html"), (b"accept-ENCODING", b"gzip,br"), (b"Cookie", b"a=1; b=\"2\""),
    (b"Cookie", b"c=3"), (b"X-Empty", b""), (b"X-Twice", b"1"), (b"X-Twice", b"2"), (b"x-twice", b"1"),
    (b"X-Latin", b"caf\xe9 \xff"), (b"X-Tab", b"a\tb  c"), (b"x!#$%&'*+-.^_`|~09", b"every character of a token"),
    (b"X-Large", b"v" * 8000), (b"Range", b"bytes=0-,5-9"), (b"If-None-Match", b"W/\"x\", *"), (b"TE", b"trailers"),
    (b"Via", b"1.1 somebody"), (b"X-Forwarded-For", b"203.0.113.1"), (b"Forwarded", b"for=\"[2001:db8::1]\""),
    (b"Content-Type", b"multipart/form-data; boundary=--x"), (b"Proxy-Authorization", b"Basic cHJveHk6"),
    (b"Content-Encoding", b"gzip"), (b"Sec-Fetch-Site", b"same-origin"), (b"DNT", b"1"),
    (b"User-Agent", b"curl/8 (x; y)"),
]  # fmt: skip
OWN_CREDENTIALS = [b"Basic Y2xpZW50OnNlY3JldA==", b"Bearer the-client's", b"", b'Digest username="x", uri="/"']
HTTP1_ONLY: Fields = [
    (b"Connection", b"keep-alive, X-Hop"),
    (b"Expect", b"100-continue"),
    (b"Keep-Alive", b"timeout=5"),
]
STATUSES = [
    b"200 OK",
    b"201 Made",
    b"204 ",
    b"206 Partial Content",
    b"302 Found",
    b"304 Not Modified",
    b"404 No",
    b"503 :-(",
]
ANSWER_FIELDS: Fields = [
    (b"Set-Cookie", b"a=1; Path=/"), (b"Set-Cookie", b"b=2"), (b"Location", b"/elsewhere?x=%2F"), (b"X-Empty", b""),
    (b"Cache-Control", b"no-store"), (b"X-Latin", b"\xe9"), (b"Content-Encoding", b"gzip"), (b"X-Large", b"v" * 6000),
    (b"WWW-Authenticate", b"Basic realm=\"x\""), (b"Access-Control-Allow-Origin", b"*"), (b"Vary", b"Origin, X"),
]  # fmt: skip


@dataclass(frozen=True)
class Exchange:
    """A request that a client sends, and the server's answer."""

    number: int
    method: bytes
    path: bytes
    fields: Fields
    body: bytes
    trailers: Fields
    chunked: bool
    answer: Message

    def request(self, authority: bytes, scheme: bytes | None) -> bytes:
        """The request of HTTP/1.1. With a scheme it asks a proxy."""
        target = scheme + b"://" + authority + self.path if scheme else self.path
        fields = [(b"Host", authority), *self.fields]
        if self.body and self.chunked:
            fields.append((b"Transfer-Encoding", b"chunked"))
        elif self.body or self.method not in {b"GET", b"HEAD"}:
            fields.append((b"Content-Length", b"%d" % len(self.body)))
        spaces = random.Random(self.number)
        lines = [
            name + b":" + spaces.choice([b" ", b"", b"  ", b"\t"]) + value + spaces.choice([b"", b" "])
            for name, value in spaces.sample(fields, len(fields))
        ]
        body = chunks(self.body) if self.body and self.chunked else self.body
        return b"\r\n".join([self.method + b" " + target + b" HTTP/1.1", *lines, b"", body])

    def message(self, authority: bytes) -> Message:
        """The request of HTTP/2."""
        start = [(b":method", self.method), (b":scheme", b"https"), (b":path", self.path), (b":authority", authority)]
        length = [] if self.chunked else [(b"content-length", b"%d" % len(self.body))]
        fields = [(name.lower(), value) for name, value in self.fields if (name, value) not in HTTP1_ONLY]
        return Message(b"", start + length + fields, self.body, self.trailers)


def drawn(draw: random.Random, number: int, protocol: str, *, trailers: bool) -> Exchange:
    fields = draw.sample(FIELDS, draw.randint(0, 8)) + [
        (draw.choice([b"Authorization", b"authorization", b"AUTHORIZATION"]), value)
        for value in draw.sample(OWN_CREDENTIALS, draw.choice([0, 0, 0, 1, 1, 2]))
    ]
    if protocol != "h2":
        fields += draw.sample(HTTP1_ONLY, draw.choice([0, 0, 1]))
    status = draw.choice(STATUSES)
    answer = [(b":status", status), *draw.sample(ANSWER_FIELDS, draw.randint(0, 5))]
    body = b"" if status.startswith((b"204", b"304")) else some_bytes(draw)
    return Exchange(
        number,
        draw.choice(METHODS),
        b"/r/%d/" % number + draw.choice(PATHS),
        draw.sample(fields, len(fields)),
        some_bytes(draw),
        [(b"x-checksum", b"1"), (b"x-checksum", b"2")] if protocol == "h2" and trailers and draw.random() < 0.3 else [],
        draw.random() < 0.4,
        Message(b"", answer, body, [(b"x-trailer", b"t")] if body and draw.random() < 0.2 else []),
    )


def some_bytes(draw: random.Random) -> bytes:
    return draw.randbytes(draw.choice([0, 0, 1, 30, THRESHOLD - 1, THRESHOLD + 1, 5000]))


def chunks(body: bytes) -> bytes:
    """A body in chunks of RFC 9112 section 7.1."""
    parts = [body[start : start + 700] for start in range(0, len(body), 700)]
    return b"".join(b"%x;ext=1\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"

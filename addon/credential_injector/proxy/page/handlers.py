"""Tornado's handlers of the page, behind mitmweb's login. Imported in mitmweb only."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from mitmproxy import ctx, http
from mitmproxy.tools.web.app import RequestHandler
from tornado.template import Template
from tornado.web import HTTPError

from credential_injector.proxy import phone, qr, record
from credential_injector.proxy.page.lines import MOST, SHOWS, Seen
from credential_injector.proxy.page.view import Page, page
from credential_injector.proxy.routes import Routes

_HERE = Path(__file__).parent
_PAGE = Template((_HERE / "page.html").read_text(encoding="utf-8"), autoescape="xhtml_escape")
_PHONE = Template((_HERE / "phone.html").read_text(encoding="utf-8"), autoescape="xhtml_escape")
_LOGIN = Template((_HERE / "login.html").read_text(encoding="utf-8"), autoescape="xhtml_escape")
_FILES = {name: (_HERE / name).read_bytes() for name in ("page.css", "page.js")}
_TYPES = {".css": "text/css", ".js": "text/javascript"}

LOOKED_AT = 5000  # flows, from the newest on: 6 ms. mitmweb may hold any number, and the page asks every 2 seconds.

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


def table(routes: Routes) -> list[tuple[str, type, dict[str, Any]]]:
    """What is served for these environments: tornado's paths and handlers."""
    return [
        (r"/inject/?", PageHandler, {"routes": routes}),
        (r"/inject/phone", PhoneHandler, {"routes": routes}),
        (r"/inject/refresh", RefreshHandler, {"routes": routes}),
        (r"/inject/(?P<name>page\.(?:css|js))", FileHandler, {"routes": routes}),
    ]


def html(rows: Page, xsrf: str = "", has_phone: bool = False) -> bytes:
    """The page. `xsrf` is the field of its form that mitmweb wants to see."""
    return _PAGE.generate(page=rows, shows=SHOWS, most=MOST, xsrf=xsrf, has_phone=has_phone)


# mitmproxy 12 has an untyped __init_subclass__ there, and mitmproxy 11 none.
class _Guarded(RequestHandler):  # type: ignore[no-untyped-call,unused-ignore]
    """mitmweb's own guards, and those that mitmweb 11 lacks."""

    def initialize(self, routes: Routes) -> None:
        self.routes = routes

    def prepare(self) -> None:
        """Refuse a page of another origin that changes something: mitmweb 11 does not, and 12 answers 500."""
        if self.request.method in ("GET", "HEAD"):
            return
        origin = self.request.headers.get("Origin")
        same = f"{self.request.protocol}://{self.request.host}"
        if self.request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none") or (
            origin is not None and origin != same
        ):
            raise HTTPError(403)

    def set_default_headers(self) -> None:
        super().set_default_headers()  # type: ignore[no-untyped-call]
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", _POLICY)
        # With no-referrer, browsers send `Origin: null` with our own forms, too (WHATWG Fetch, "append a request").
        self.set_header("Referrer-Policy", "same-origin")

    def auth_fail(self, invalid_password: bool) -> None:
        """mitmweb 12 wants its password, or the token of the address that it printed."""
        self.finish(_LOGIN.generate(wrong=invalid_password, xsrf=self.xsrf_form_html()))


class PageHandler(_Guarded):  # type: ignore[no-untyped-call,unused-ignore]
    """The page."""

    def get(self) -> None:
        asked = self.get_query_argument("show", "all")
        show = next((one for one in SHOWS if one == asked), SHOWS[0])
        rows = page(self.routes.status(), self._seen(), show)
        self.write(html(rows, self.xsrf_form_html(), bool(ctx.options.inject_phone)))

    post = get  # the login's form

    def _seen(self) -> Iterator[Seen]:
        """What mitmweb's list holds, captures that were loaded included, the last one first.

        The view's own order and filter are a person's choice.
        """
        for flow in islice(reversed(self.view.resolve("@all")), LOOKED_AT):
            # A capture may hold anything, also where mitmproxy wants a dict.
            if isinstance(flow, http.HTTPFlow) and record.KEY in (flow.metadata or ()):
                yield Seen(
                    id=flow.id,
                    started=flow.request.timestamp_start,
                    method=flow.request.method,
                    path=flow.request.path.partition("?")[0],
                    status=flow.response.status_code if flow.response is not None else None,
                    failed=flow.error is not None,
                    record=flow.metadata[record.KEY],
                    is_replay=flow.is_replay == "request",
                )


class PhoneHandler(_Guarded):  # type: ignore[no-untyped-call,unused-ignore]
    """What a phone scans."""

    def get(self) -> None:
        self.write(_PHONE.generate(codes=phone.codes(), proxy=phone.proxy(), svg=qr.svg))

    post = get  # the login's form


class RefreshHandler(_Guarded):  # type: ignore[no-untyped-call,unused-ignore]
    """Ask for a new token now."""

    def post(self) -> None:
        name = self.get_body_argument("environment")
        if name not in self.routes.names():
            raise HTTPError(404)
        self.routes.refresh(name)
        self.redirect("/inject", status=303)


class FileHandler(_Guarded):  # type: ignore[no-untyped-call,unused-ignore]
    """What the page is made of beside its text."""

    def get(self, name: str) -> None:
        self.set_header("Content-Type", f"{_TYPES[Path(name).suffix]}; charset=utf-8")
        self.write(_FILES[name])

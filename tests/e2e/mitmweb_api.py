"""mitmweb's web interface, as its own page uses it."""

from typing import Any
from urllib.parse import urlsplit

import requests

from credential_injector.demo.processes import Mitmproxy


class WebApi:
    """A session that is logged in, where mitmweb has a login (11.1.2 and newer)."""

    def __init__(self, proxy: Mitmproxy) -> None:
        parts = urlsplit(proxy.web_url)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.answers: list[bytes] = []
        """What every call was answered with."""
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.get(proxy.web_url, timeout=30).raise_for_status()
        # Its page gets this cookie with the WebSocket, but any that the header repeats will do.
        token = "00" * 16
        for name in ("_xsrf", "_mitmproxy_xsrf"):  # of mitmproxy 11, of mitmproxy 12
            self.session.cookies.set(name, token)
        self.session.headers["X-XSRFToken"] = token

    def ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        """One call; the caller looks at its status."""
        answer = self.session.request(method, self.origin + path, json=body, timeout=30)
        self.answers.append(answer.content)
        return answer

    def flows(self) -> list[dict[str, Any]]:
        """The flows, oldest first."""
        found: list[dict[str, Any]] = self.ask("GET", "/flows").json()
        return found

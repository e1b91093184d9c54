"""A token at its place, and maybe further headers of the environment beside it."""

from collections.abc import Callable
from typing import Any, ClassVar

from credential_injector.environments.environment import Environment
from credential_injector.oauth import login_recipe
from credential_injector.oauth.grants import FIXED
from credential_injector.oauth.login_page import LOGOUTS, last_segment, leads_to
from credential_injector.oauth.token import AccessToken
from credential_injector.proxy import masking
from credential_injector.proxy.credentials.credential import Again, Before, Carrier, Request, Signed, refused
from credential_injector.proxy.credentials.fields import drop_header, is_http2, set_header
from credential_injector.proxy.credentials.place import Place
from credential_injector.proxy.grpc_calls import Answer
from credential_injector.proxy.masking import Mask

# Redirects that are not for good (RFC 9110 section 15.4): what has moved for good has not moved to a login page.
_FOR_NOW = (302, 303, 307)


class PlacedCredential:
    """As Credential."""

    signs: ClassVar[tuple[str, ...]] = ()
    __slots__ = ("_extra", "_extra_http2", "_fixed", "_login_url", "_name", "_place", "label", "place")

    def __init__(self, environment: Environment, place: Place) -> None:
        self._place = place
        self.place = place.name
        self.label = place.label
        self._name = environment.name
        self._fixed = environment.token_request.grant_type in FIXED
        request = environment.token_request
        self._login_url = request.endpoint if request.grant_type == login_recipe.GRANT else ""
        self._extra = environment.extra_headers
        self._extra_http2 = tuple((name.lower(), value) for name, value in self._extra)

    def apply(self, request: Request, token: AccessToken) -> Before | None:
        """As in Credential."""
        replaced = self._place.write(request, token.value)
        if self._extra:
            for name, value in self._extra_http2 if is_http2(request) else self._extra:
                set_header(request.headers, name.encode(), value.encode())
        return replaced

    def sign(self, request: Signed, token: AccessToken, url: str, now: float) -> str | None:
        """As in Credential."""

    def learn(self, answer: Answer, url: str) -> None:
        """As in Credential."""

    def found_in(self, request: Carrier) -> Before | None:
        """As in Credential."""
        return self._place.found_in(request)

    def remove(self, request: Carrier) -> None:
        """As in Credential."""
        self._place.remove(request)
        for name, _ in self._extra:
            drop_header(request.headers, name)

    def is_in(self, request: Carrier, token: AccessToken) -> bool:
        """As in Credential."""
        return self._place.holds(request, token.value)

    def masks(self, token: AccessToken) -> tuple[Mask, ...]:
        """As in Credential."""
        label = self.fingerprint(token) or masking.unnamed()
        return (
            *(masking.mask_of(self._name, field, form, label) for field, form in self._place.written(token.value)),
            *(masking.mask_of(self._name, name, value, masking.unnamed(name)) for name, value in self._extra),
        )

    def fingerprint(self, token: AccessToken) -> str | None:
        """As in Credential."""
        return None if self._fixed else token.fingerprint

    def described(self, token: AccessToken) -> str:
        """As in Credential."""
        shown = "<secret>" if self._fixed else f"<{token.fingerprint}>"
        return "\n".join([self._place.described(shown), *(f"{name}: <secret>" for name, _ in self._extra)])

    def record(self, token: AccessToken, into: dict[str, Any]) -> None:
        """As in Credential."""
        self._place.record(into)
        if not self._fixed:
            into["token"], into["token_length"] = token.fingerprint, len(token.value)
        if self._extra:
            into["headers"] = [name for name, _ in self._extra]

    def answered(self, answer: Answer, url: Callable[[], str]) -> Again:
        """As in Credential. An API may also send a client whose session has ended to the page where it logs in."""
        if self._login_url and answer.status_code in _FOR_NOW and self._has_ended(answer, url()):
            return Again.NEW_TOKEN
        return refused(answer)

    def _has_ended(self, answer: Answer, url: str) -> bool:
        """Whether a redirect means that the session has ended."""
        location = answer.headers.get("location", "")
        return last_segment(url) not in LOGOUTS and leads_to(self._login_url, location, url)

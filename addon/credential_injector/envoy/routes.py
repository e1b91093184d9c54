"""What becomes of a site's requests, as Envoy's routes: the rules of `proxy/policy.py` in Envoy's terms. Pure.

The first route that matches decides.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from credential_injector.environments.environment import Environment
from credential_injector.envoy import limits, patterns
from credential_injector.envoy.filters import turned_on
from credential_injector.envoy.sites import Site
from credential_injector.envoy.typed import Message
from credential_injector.origins.origin import Origin

_NOBODY = "several accounts share this host, and the header X-Inject-As names none of them; it may say"


@dataclass(frozen=True, slots=True)
class Where:
    """A condition for a request: a path, and what its headers say."""

    path: Message
    prefix: str = ""
    """That of the path, where it is one."""
    headers: tuple[Message, ...] = ()

    def and_headers(self, *headers: Message) -> "Where":
        """The same, and these headers, too."""
        return replace(self, headers=(*self.headers, *headers))

    def below(self, prefix: str) -> "Where | None":
        """The same below this prefix, too. None: no path is."""
        if "safe_regex" in self.path and not self.prefix:
            return None  # a path that is read in different ways is below nothing
        longer, shorter = sorted((self.prefix, prefix), key=len, reverse=True)
        if longer != shorter and not longer.startswith(f"{shorter}/") and shorter:
            return None
        return replace(self, path=_below(longer), prefix=longer)

    def match(self) -> Message:
        """As Envoy takes it."""
        return {**self.path, **({"headers": list(self.headers)} if self.headers else {})}


ANYWHERE = Where({"prefix": "/"})
EVERYTHING = Where({"prefix": ""})


@dataclass(frozen=True, slots=True)
class Way:
    """How a site's requests get to its server."""

    cluster: str
    own_origins: frozenset[str] = frozenset()
    """Origins of pages that Envoy itself serves, as a reverse proxy."""
    host: str = ""
    """What the server is told as Host, if not what the client said."""


def of(site: Site, way: Way) -> list[Message]:
    """The routes of a site's virtual host."""
    groups: dict[tuple[Origin, str], list[Environment]] = {}
    for claim in site.claims:
        groups.setdefault((claim.origin, claim.path), []).append(claim.environment)
    rules, routes = _Rules(site, way), []
    everywhere = next((group for (_, path), group in groups.items() if not path), [])
    below = [(path, one) for (_, path), group in groups.items() if path and not everywhere for one in group]
    if any(path for _, path in groups) or any(one.methods and one.methods.below for one in site.environments):
        ambiguous = Where({"safe_regex": {"regex": patterns.AMBIGUOUS}})
        routes += rules.of_group(everywhere, ambiguous)
        for _, one in below:
            routes += rules.guarded(one, ambiguous)
        routes.append(rules.untouched(ambiguous))
    for (_, path), group in groups.items():
        routes += rules.of_group(group, replace(ANYWHERE, path=_below(path), prefix=path) if path else ANYWHERE)
    for path, one in below:
        routes += rules.guarded(one, Where({"safe_regex": {"regex": patterns.spelt(path, below=True)}}))
    for one in everywhere:
        routes += rules.guarded(one, EVERYTHING)  # as OPTIONS *
    return [*routes, rules.untouched(EVERYTHING)]


def is_served(environment: Environment) -> bool:
    """Whether Envoy can put this environment's credential into requests."""
    return limits.refusal(environment) is None


def elsewhere(site: Site, way: Way) -> list[Message]:
    """The routes for a request whose Host is not that of its connection: no credential, and no write to production."""
    rules = _Rules(site, way)
    blocks = [route for one in site.environments for route in rules.guarded(one, ANYWHERE)]
    return [*blocks, rules.untouched(EVERYTHING)]


class _Rules:
    """The rules of one site."""

    def __init__(self, site: Site, way: Way) -> None:
        self._site = site
        self._way = way

    def of_group(self, group: Sequence[Environment], where: Where) -> list[Message]:
        """Those of the environments that share a path."""
        if not any(one.asked_as for one in group):
            return self._of_one(group[-1], where) if group else []
        named = [(name, one) for one in group for name in one.asked_as]
        default = next((one for one in group if one.default), None)
        routes = self._skipped(default or group[0], where.and_headers(*_PREFLIGHT))
        for name, one in named:
            routes += self._of_one(one, where.and_headers(_header("x-inject-as", exact=name)))
        wrong = f"{group[0].title}: request blocked: {_NOBODY} {' or '.join(name for name, _ in named)}"
        others = where.and_headers(_present("x-inject-as")) if default is not None else where
        routes += [*self._skipped(default or group[0], others), answer(others, wrong)]
        return [*routes, *(self._of_one(default, where) if default is not None else [])]

    def _of_one(self, environment: Environment, where: Where) -> list[Message]:
        if (why := limits.refusal(environment)) is not None:
            return [_blocked_at(environment, where, why)]
        routes = self._skipped(environment, where)
        if not environment.production:
            routes += self.overridden(environment, where)
        routes += self._unconfirmed(environment, where)
        for one in self._allowed(environment, where):
            routes += self._injected(environment, one)
        return [*routes, *self.other_methods(environment, where)]

    def _skipped(self, environment: Environment, where: Where) -> list[Message]:
        """What gets no credential. No write goes on to production like that, either."""
        pages = self._pages(environment, where)
        if environment.production:
            pages = [one for page in pages for one in self._allowed(environment, page)]
        guards = self.overridden(environment, where) if environment.production else []
        bare = [where.and_headers(*_PREFLIGHT), *pages]
        return [*map(self.untouched, self._token_endpoints(where)), *guards, *map(self.untouched, bare)]

    def guarded(self, environment: Environment, where: Where) -> list[Message]:
        """What must not go on to production without a credential."""
        if not environment.production:
            return []
        return [*self.overridden(environment, where), *self.other_methods(environment, where)]

    def _injected(self, environment: Environment, where: Where) -> list[Message]:
        """OVERWRITE, and then the credential."""
        routes = []
        if environment.overwrite != "always":
            header = environment.header.lower()
            sent = _present(header) if environment.overwrite == "never" else _present(header, absent=True)
            routes.append(self.untouched(where.and_headers(sent)))
        injected = self.untouched(where)
        injected |= {"name": environment.name, "typed_per_filter_config": turned_on(environment)}
        return [*routes, injected]

    def _token_endpoints(self, where: Where) -> list[Where]:
        """Clients bring their own credentials there."""
        paths = [patterns.spelt(path) for path in self._site.endpoints]
        return [replace(where, path={"safe_regex": {"regex": one}}) for one in (*paths, patterns.CLIMBS) if paths]

    def _pages(self, environment: Environment, where: Where) -> list[Where]:
        """Requests that a page of another origin makes."""
        own = self._site.page_origins(environment) | self._way.own_origins
        return [
            where.and_headers(
                _header("sec-fetch-site", regex="(?i).*cross-site.*"), *_none_of("origin", environment.page_origins)
            ),
            where.and_headers(_present("origin"), *_none_of("origin", own)),
        ]

    def overridden(self, environment: Environment, where: Where) -> list[Message]:
        """Requests that ask for another method than their own, which METHODS does not name."""
        if environment.methods is None:
            return []
        why = "it asks for another method, which is not in METHODS"
        methods = environment.methods.anywhere
        odd = [where.and_headers(_present(one), *_none_of(one, methods, around=" *")) for one in patterns.OVERRIDES]
        return [_blocked_at(environment, one, why) for one in [*odd, where.and_headers(_METHOD_IN_QUERY)]]

    def _unconfirmed(self, environment: Environment, where: Where) -> list[Message]:
        if environment.confirm is None:
            return []
        methods = [*environment.confirm.anywhere, *(method for method, _ in environment.confirm.below)]
        why = "CONFIRM wants a person to agree, and Envoy asks nobody; use mitmproxy for it"
        named = _one_of(methods)
        odd = [_header(one, regex=rf"(?i)\C*({named})\C*") for one in patterns.OVERRIDES]
        asked = [_methods(methods), *odd, _METHOD_IN_QUERY] if methods else []
        return [_blocked_at(environment, where.and_headers(one), why) for one in asked]

    def _allowed(self, environment: Environment, where: Where) -> list[Where]:
        """METHODS, as conditions of which one must hold."""
        if environment.methods is None:
            return [where]
        below = [
            narrower.and_headers(_methods([method]))
            for method, prefix in environment.methods.below
            if (narrower := where.below(prefix)) is not None
        ]
        anywhere = [where.and_headers(_methods(environment.methods.anywhere))] if environment.methods.anywhere else []
        return [*anywhere, *below]

    def other_methods(self, environment: Environment, where: Where) -> list[Message]:
        """What METHODS does not name, behind what it names."""
        if environment.methods is None:
            return []
        marked = "; PRODUCTION=true allows what METHODS names only" if environment.production else ""
        why = f"its method is not in METHODS={environment.methods} of {environment.file}{marked}"
        return [_blocked_at(environment, where.and_headers(*_none_of(":method", environment.methods.anywhere)), why)]

    def untouched(self, where: Where) -> Message:
        """It goes on as the client sent it."""
        action: Message = {"cluster": self._way.cluster, "timeout": "0s"}
        if self._way.host:
            action["host_rewrite_literal"] = self._way.host
        asked = any(one.asked_as for one in self._site.environments)
        removed = {"request_headers_to_remove": ["x-inject-as"]} if asked else {}
        return {"match": where.match(), "route": action, **removed}


def _blocked_at(environment: Environment, where: Where, why: str) -> Message:
    return answer(where, f"{environment.title}: request blocked: {why}")


def answer(where: Where, line: str) -> Message:
    """The add-on's 502."""
    return {
        "match": where.match(),
        "direct_response": {"status": 502, "body": {"inline_string": line}},
        "response_headers_to_add": [
            {"header": {"key": "Cache-Control", "value": "no-store"}},
            {
                "header": {"key": "Content-Type", "value": "text/plain; charset=utf-8"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            },
        ],
    }


def _below(path: str) -> Message:
    return {"safe_regex": {"regex": f"{re.escape(path)}(/.*)?"}} if path else {"prefix": "/"}


def _one_of(words: Iterable[str]) -> str:
    """An expression for these words."""
    return "|".join(map(re.escape, sorted(words)))


def _none_of(header: str, words: Collection[str], around: str = "") -> tuple[Message, ...]:
    """The condition that a header's value is none of these words."""
    if not words:
        return ()
    value = {"safe_regex": {"regex": f"(?i){around}({_one_of(words)}){around}"}}
    return ({"name": header, "string_match": value, "invert_match": True, "treat_missing_header_as_empty": True},)


def _methods(methods: Iterable[str]) -> Message:
    return _header(":method", regex=f"(?i)({_one_of(methods)})")


def _present(name: str, *, absent: bool = False) -> Message:
    return {"name": name, "present_match": True, **({"invert_match": True} if absent else {})}


def _header(name: str, *, exact: str | None = None, regex: str = "") -> Message:
    """The condition that a header has this value."""
    value = {"exact": exact} if exact is not None else {"safe_regex": {"regex": regex}}
    return {"name": name, "string_match": value}


_METHOD_IN_QUERY = _header(":path", regex=patterns.METHOD_IN_QUERY)
_PREFLIGHT = (_methods(["OPTIONS"]), _present("access-control-request-method"))

"""Why a request gets a credential or none: the policy's verdict, and each rule on the way to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from credential_injector import messages
from credential_injector.environments.environment import DEFAULT_TOKEN_PATH, Environment
from credential_injector.environments.file_names import printable
from credential_injector.environments.spelling import closest
from credential_injector.oauth import login_recipe
from credential_injector.oauth.request import TokenRequest
from credential_injector.origins.hosts import is_name
from credential_injector.origins.index import Destination, Destinations, difference
from credential_injector.origins.origin import DEFAULT_PORTS, Origin
from credential_injector.proxy.asked_methods import asked_methods
from credential_injector.proxy.credentials import place_of
from credential_injector.proxy.policy import BRINGS_ITS_OWN, RULES, Policy, Verdict, in_another_form
from credential_injector.proxy.request import Request
from credential_injector.proxy.routes import Routes

ALIKE = 0.85  # of 1, for equal names; below it most names have no more than their domain in common

Outcome = Literal["injected", "kept", "skipped", "blocked", "untouched"]
_OUTCOMES: dict[str, Outcome] = {"inject": "injected", "keep": "kept", "skip": "skipped", "block": "blocked"}
_WORDS = {
    "kept": "keeps the credential that the client sent",
    "skipped": "goes on as the client sent it",
    "blocked": "is answered with a 502",
    "untouched": "passes unchanged",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One rule of the policy's that the request was held against."""

    rule: str
    """Its kind."""
    passed: bool
    words: str
    """What holds where it is passed."""
    key: str = ""
    """The environment file's key or mitmproxy's option that decides it; empty where the request alone does."""
    value: str | None = None
    """The key's; None where it has none."""
    file: str | None = None
    """The environment's file. None: no file decides it."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """The environment that comes nearest to a request that none names."""

    environment: str
    file: str
    origin: str
    """The one of its HOST that comes nearest."""
    differs: str
    """In which one thing: `scheme`, `host`, `port`, `path` or `name`."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What becomes of a request, and why."""

    method: str
    url: str
    """Without its query, which may hold secrets."""
    client: str | None
    verdict: Outcome
    environment: str | None
    file: str | None
    credential: str | None
    """What an injected request gets: `Authorization: Bearer <token>`."""
    without_token: str | None
    """`block` or `pass`: what becomes of it while there is no token."""
    failed: str | None
    """The kind of the rule that the request breaks."""
    cause: str
    advice: str
    steps: tuple[Step, ...]
    """The rules that were asked: of those that the request breaks, the first ends the list."""
    nearest: Nearest | None
    notes: tuple[str, ...]


def explain(policy: Policy, request: Request, folder: str, notes: tuple[str, ...] = ()) -> Explanation:
    """Ask the policy about a request.

    `folder` is that of the environment files, as messages name it; `notes` are sentences to tell with the answer.
    """
    destination, verdict = request.destination, policy.decide(request)
    found = policy.routes.find(destination)
    route = verdict.route if verdict is not None else found
    environment = route.environment if route is not None else None
    failed = _broken(verdict, named=found is not None)
    cause, advice, nearest = "", "", None
    if failed == "host":
        cause, advice, nearest = _nowhere(policy.routes, destination, verdict, folder)
    elif failed == "preflight":
        cause = "it is a CORS preflight, which browsers send without a credential"
        advice = "ask about the request that follows it"
    elif verdict is not None:
        cause, _, advice = verdict.reason.partition("; ")
    giver = environment if failed is None else None
    if giver is not None and giver.overwrite == "never":
        notes = (*notes, f"a request that brings its own {giver.place[0]} keeps it (OVERWRITE=never)")
    confirm = giver.confirm if giver is not None else None
    if confirm is not None and any(confirm.may_mean(one, destination.path) for one in asked_methods(request.head)):
        notes = (*notes, f"a person has to agree first, in mitmweb (CONFIRM={confirm})")
    return Explanation(
        method=printable(request.head.method.decode("latin-1")),
        url=_base(destination) + printable(destination.path.partition("?")[0].partition("#")[0]),
        client=request.client,
        verdict=_OUTCOMES[verdict.action] if verdict is not None else "untouched",
        environment=environment.name if environment is not None else None,
        file=environment.file if environment is not None else None,
        credential=_credential(giver) if giver is not None else None,
        without_token=giver.without_token if giver is not None else None,
        failed=failed,
        cause=cause,
        advice=advice,
        steps=tuple(_steps(policy, request, environment, failed)),
        nearest=nearest,
        notes=notes,
    )


def lines(explanation: Explanation) -> Iterator[str]:
    """An explanation for people, in lines that are each complete in themselves."""
    one = explanation
    request = f"{one.method} {one.url}"
    if one.credential is not None:
        yield f"injected: {request} gets {one.credential} of {one.environment} ({one.file})"
    else:
        yield f"{one.verdict}: {request} {_WORDS[one.verdict]}: {one.cause}"
    if one.advice:
        yield f"to do: {one.advice}"
    for step in one.steps:
        yield f"{'passed' if step.passed else 'failed'}: {step.words}{_setting(step)}"
    if one.nearest is not None:
        near = one.nearest
        yield f"nearest: {near.environment} ({near.file}), HOST={near.origin}; the {near.differs} differs"
    if one.without_token is not None:
        becomes = "blocked with a 502" if one.without_token == "block" else "sent on as the client sent it"  # noqa: S105 - not a password
        yield f"note: without a token the request is {becomes} (WITHOUT_TOKEN={one.without_token})"
    for note in one.notes:
        yield f"note: {note}"


def _broken(verdict: Verdict | None, *, named: bool) -> str | None:
    """The kind of the rule that the request breaks."""
    if not named:
        return "host"
    if verdict is None:
        return "preflight"
    return None if verdict.action == "inject" else verdict.kind or "overwrite"


def _steps(policy: Policy, request: Request, environment: Environment | None, failed: str | None) -> Iterator[Step]:
    """The rules as far as the policy has come."""
    values = _values(policy, request, environment) if environment is not None and failed != "host" else {}
    for rule in RULES:
        if rule.scheme not in ("", request.destination.scheme):
            continue
        if rule.kind == "as" != failed and (environment is None or not (environment.asked_as or environment.default)):
            continue
        key = next((one for one in ("ISSUER", "LOGIN_URL") if rule.key == "TOKEN_ENDPOINT" and one in values), rule.key)
        file = environment.file if environment is not None and key.isupper() and values else None
        yield Step(rule.kind, rule.kind != failed, rule.words, key, values.get(key), file)
        if rule.kind == failed:
            return


def _values(policy: Policy, request: Request, environment: Environment) -> dict[str, str | None]:
    """What decides the rules: keys of the environment's file, and options of mitmproxy's."""
    asked, methods = environment.token_request, environment.methods
    origins = Destinations((origin, str(origin)) for origin in environment.origins)
    return {
        "HOST": origins.find(*request.destination),
        _server_key(asked): asked.server_url or None,
        "ORIGINS": ",".join(sorted(environment.page_origins)) or None,
        "AS": ",".join(environment.asked_as) or None,
        "METHODS": str(methods) if methods is not None else None,
        "OVERWRITE": environment.overwrite,
        "inject_clients": policy.clients,
        "ssl_insecure": str(policy.ssl_insecure).lower(),
        "mode": f"upstream:{request.proxy}" if request.proxy is not None else None,
    }


def _server_key(request: TokenRequest) -> str:
    """The key that names where its tokens come from."""
    if request.grant_type == login_recipe.GRANT:
        return "LOGIN_URL"
    return "TOKEN_ENDPOINT" if request.endpoint or not request.issuer else "ISSUER"


def _setting(step: Step) -> str:
    """The key or option that decides a rule, where it is, and what it says."""
    if step.value is None:
        return f": no {step.key} in {step.file}" if step.file is not None else ""
    where = f" in {step.file}" if step.file is not None else ""
    if (step.key, step.value) == ("OVERWRITE", "always"):
        where = ", the default"
    elif step.key == "TOKEN_ENDPOINT" and step.value.endswith(DEFAULT_TOKEN_PATH):
        where += ", or the default"
    elif step.key == "ISSUER":
        where += ", as far as its token endpoint is known"
    return f": {step.key}={step.value}{where}"


def _credential(environment: Environment) -> str:
    """What a request gets, without a secret."""
    noun = messages.noun(environment.token_request.grant_type)
    more = "".join(f", {name}: <secret>" for name, _ in environment.extra_headers)
    return place_of(environment).described(f"<{noun}>") + more


def _base(destination: Destination) -> str:
    scheme, host, port, _ = destination
    if scheme not in DEFAULT_PORTS:  # a client may write anything
        return "another scheme"
    return printable(Origin(scheme, host, port).base)


# --- Where no environment names the destination -----------------------------------------------------------------------


def _nowhere(
    routes: Routes, destination: Destination, verdict: Verdict | None, folder: str
) -> tuple[str, str, Nearest | None]:
    """Why no environment names a destination, what to do, and which comes nearest."""
    host, base = destination.host, _base(destination)
    if routes.is_token_endpoint(destination):
        return BRINGS_ITS_OWN, "", None
    route = routes.nearest(destination)
    if route is not None:
        differs, cause = difference(destination, route.origin)
        advice = in_another_form(destination, differs, route.environment.file)
        return cause, advice, Nearest(route.environment.name, route.environment.file, str(route.origin), differs)
    if verdict is not None:  # a name in the request is an environment's, and its destination is none's
        environment = verdict.route.environment
        nearest = Nearest(environment.name, environment.file, str(environment.origins[0]), "name")
        return verdict.reason, "", nearest
    if (alike := _alike(routes, host)) is not None:
        environment, near = alike
        nearest = Nearest(environment.name, environment.file, str(near), "host")
        cause = f"HOST is {near}, and this was {host}"
        if near.wildcard and near.host == host:
            cause += ", which is not below it"
        todo = f"add {base} to HOST in {environment.file}"
        return cause, todo if host.endswith(near.host) else f"check the name, or {todo}", nearest
    advice = f"add {base} to HOST of a file in {folder}, or make one there with credential-injector init"
    return "no environment file names anything like this host", advice, None


def _alike(routes: Routes, host: str) -> tuple[Environment, Origin] | None:
    """The origin whose host is above this one, or the wildcard's own name, or spelt nearly like it."""
    if not is_name(host):
        return None  # an address that is spelt nearly alike is another machine
    environments = [route.environment for route in map(routes.named, routes.names()) if route is not None]
    entries = [(origin.host, environment, origin) for environment in environments for origin in environment.origins]
    above = [entry for entry in entries if host == entry[0] or host.endswith(f".{entry[0]}")]
    if above:
        return max(above, key=lambda entry: len(entry[0]))[1:]
    # Of what a wildcard covers, the labels before its own may be any.
    labels = host.split(".")
    spelt: dict[str, tuple[Environment, Origin]] = {}
    for name, environment, origin in entries:
        before = labels[: max(len(labels) - name.count(".") - 1, 0)] if origin.wildcard else []
        spelt.setdefault(".".join([*before, name]), (environment, origin))
    return spelt.get(closest(host, spelt, cutoff=ALIKE))

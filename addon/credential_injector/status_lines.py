"""How the environments stand, in lines for people."""

from datetime import UTC, datetime

from credential_injector import messages
from credential_injector.oauth.grants import FIXED
from credential_injector.status import Counts, EnvironmentStatus, Overview


def status(now: EnvironmentStatus) -> str:
    """One line: what the environment has, what has happened there, and what keeps it from getting more."""
    name = f"{now.name} (production)" if now.production else now.name
    return f"{name}: {', '.join(now.origins)}: {credential_status(now)}; {counts(now.counts, now.grant_type)}"


def credential_status(now: EnvironmentStatus) -> str:
    """What the environment has to send, and what keeps it from getting more."""
    states = []
    if now.token is not None and now.token.seconds_left is None:
        states.append(f"{now.grant_type} credential")
    elif now.token is not None and now.token.seconds_left is not None:
        left = messages.duration(now.token.seconds_left)
        states.append(f"token {now.token.fingerprint} ({now.token.source}), {left} left")
    elif now.failure is None:
        states.append(f"no {messages.noun(now.grant_type)} yet")
    if (failed := now.failure) is not None:
        why = f"no token ({failed.code}){_at(failed.at)}: {failed.reason}; {failed.advice}"
        next_try = messages.next_try(failed.next_try) if failed.next_try > 0 else "the next request tries again"
        states.append(f"{why}; {next_try}")
    if (refused := now.refusal) is not None:
        states.append(f"the API answered {refused.status}{_at(refused.at)}: {refused.cause}; {refused.advice}")
    return "; ".join(states)


def overview(now: Overview) -> list[str]:
    """A line for each environment, each client that refuses handshakes, and each mistake in a file that is not in use.

    What keeps requests from being accepted comes first: mitmweb's command bar shows the first few lines only.
    """
    environments = sorted(now.environments, key=lambda one: one.failure is None and one.refusal is None)
    return [
        *map(status, environments),
        *map(messages.refused_handshakes, now.handshakes),
        *(f"not in use: {mistake}" for mistake in now.mistakes),
    ]


def summary(now: Overview) -> list[str]:
    """A line for each environment in which anything has happened, and one for clients that refused, for the end."""
    all_of_them = [(one.name, one.counts, one.grant_type) for one in now.environments]
    all_of_them += [(name, counted, "") for name, counted in now.gone.items()]
    told = [f"{name}: {counts(counted, grant)}" for name, counted, grant in all_of_them if counted != Counts()]
    if refused := sum(one.number for one in now.handshakes if one.environment):
        told.append(
            f"{_many(refused, 'TLS handshake')} {'was' if refused == 1 else 'were'} refused by the client: it does not"
            " trust the CA, or pins its certificate; see docs/clients.md"
        )
    return told


def counts(counted: Counts, grant_type: str = "") -> str:
    """What has happened in an environment with this grant."""
    asked = "" if grant_type in FIXED else f" {_many(counted.token_requests, 'token request')},"
    rare = {"healed": counted.healed, "refused (401)": counted.refused, "forbidden (403)": counted.forbidden}
    return (
        f"{_many(counted.injected, 'request')} with a {messages.noun(grant_type)},{asked}"
        f" {counted.replays} sent again, {counted.blocked} blocked"
        + "".join(f", {number} {what}" for what, number in rare.items() if number)
    )


def _at(moment: float | None) -> str:
    """When it happened, on the reader's clock: it may be long ago."""
    return f" at {datetime.fromtimestamp(moment, UTC).astimezone():%H:%M:%S on %d %b}" if moment is not None else ""


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"

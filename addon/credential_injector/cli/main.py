"""The command line: `credential-injector`."""

import asyncio
import errno
import json
import os
import sys
import webbrowser
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from credential_injector import __version__, messages
from credential_injector.environments.environment import Environment
from credential_injector.environments.folder import DEFAULT_FOLDER, Folder, InvalidEnvironments, open_folder
from credential_injector.environments.spelling import did_you_mean
from credential_injector.oauth.token import NoToken, Served
from credential_injector.proxy.routes import Routes
from credential_injector.threads import in_thread
from credential_injector.tokens.provider import open_store

if TYPE_CHECKING:
    from credential_injector.tokens.store import TokenStore

T = TypeVar("T")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """A mitmproxy add-on that makes any client's requests arrive authenticated.

    \b
    Examples:
      mitmdump -s "$(credential-injector path)"
      credential-injector check
      credential-injector login qa
      credential-injector token qa --header | curl -H @- https://api.qa.example.com/orders

    \b
    Completion of commands and environment names, in ~/.bashrc (zsh: zsh_source, fish: fish_source):
      eval "$(_CREDENTIAL_INJECTOR_COMPLETE=bash_source credential-injector)"
    """


@main.command()
@click.argument("source", metavar="IN", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(dir_okay=False, path_type=Path))
def redact(source: Path, target: Path) -> None:
    """Copy a capture without the credentials that were injected into it.

    A mask stands in their place, in headers, URLs and bodies, and in that of proxyauth's passwords. What the clients
    themselves sent stays as it is. (mitmproxy with --set inject_mask=true saves no credential in the first place, but
    for what an answer's body repeats: of that, this finds the tokens, with the key of the user who ran mitmproxy.)

    \b
    Example:
      credential-injector redact today.mitm shareable.mitm
    """
    from credential_injector.proxy import captures

    if target.exists():
        raise click.ClickException(f"{target}: exists already; name a file that does not")
    try:
        count, changed = captures.redact(source, target)
    except captures.Unreadable:
        raise click.ClickException(
            f"{source}: is no capture of mitmproxy's, or a damaged one; nothing was written"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{target}: cannot be written ({error.strerror})") from None
    _print(f"{target}: {count} flows, {changed} of them held a credential")


@main.command()
def path() -> None:
    """Print the path of the script for mitmproxy's -s option."""
    package = Path(__file__).resolve().parents[1]
    # Installed, the script lies in the package; in a clone, beside it.
    _print(str(next(one for one in (package / "inject.py", package.parent / "inject.py") if one.is_file())))


def _complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        names = open_folder(ctx.params.get("envs") or DEFAULT_FOLDER).names()
    except InvalidEnvironments:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _environment_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say where environments and tokens are: the same as mitmproxy's."""
    command = click.option(
        "--tokens",
        default="memory",
        show_default=True,
        help="Where tokens live: what mitmproxy's inject_tokens names. A login outlives memory, too.",
    )(command)
    return click.option(
        "--envs",
        default=DEFAULT_FOLDER,
        show_default=True,
        help="Folder of environment files: what mitmproxy's inject_envs names.",
    )(command)


@main.command()
@click.argument("name", shell_complete=_complete)
@_environment_options
@click.option("--header", "form", flag_value="header", help="Print the header as the API gets it.")
@click.option("--json", "form", flag_value="json", help="Print the token with its expiry and headers.")
def token(name: str, envs: str, tokens: str, form: str | None) -> None:
    """Print the token of an environment.

    It comes as the proxy's does: from the store that --tokens names if it is there, else from one token request.
    With -H @-, curl (7.55 or newer) reads it from its input: other users of the machine can read a command line.

    \b
    Examples:
      credential-injector token qa
      credential-injector token qa --header | curl -H @- https://api.qa.example.com/orders
      credential-injector token qa --tokens ~/tokens.json --json
    """
    folder = _folder(envs, name)
    environment, served = _run(lambda store: _token(folder, store), tokens)
    prefix = f"{environment.prefix} " if environment.prefix else ""
    headers = {environment.header: prefix + served.token.value, **dict(environment.extra_headers)}
    if form == "json":
        answer = {
            "environment": environment.name,
            "access_token": served.token.value,
            "expires_at": None if served.seconds_left == float("inf") else int(served.token.expires_at),
            "source": served.source,
            "headers": headers,
        }
        _print(json.dumps(answer, indent=2))
    elif form == "header":
        _print(f"{environment.header}: {headers[environment.header]}")
    else:
        _print(served.token.value)


@main.command()
@click.argument("names", nargs=-1, shell_complete=_complete)
@_environment_options
@click.option(
    "--upstream-ca",
    metavar="FILE",
    default="",
    help="Whose certificates count: what mitmproxy's ssl_verify_upstream_trusted_ca names.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def check(names: tuple[str, ...], envs: str, tokens: str, upstream_ca: str, as_json: bool) -> None:
    """Ask for a real token in each environment and tell what is wrong.

    Looks at each file and who may read it, the token endpoint and its TLS, the token's lifetime, the granted scope,
    the clock, and the TLS of each https API in HOST, as mitmproxy would verify it; an API that cannot be reached from
    here is told, and counts as no mistake. The exit code is 0 where all is good, 1 where something is wrong, and 2
    where it was called wrongly.

    \b
    Examples:
      credential-injector check
      credential-injector check qa uat --json
      credential-injector check --upstream-ca company-and-public-ca.pem
    """
    from credential_injector.cli.table import table
    from credential_injector.tokens import upstream_tls  # imports what opens connections, as do these
    from credential_injector.tokens.checkup import check_folder

    folder = _folder(envs, *names)
    try:
        trust = upstream_tls.Trust(upstream_ca)
    except ValueError as error:
        raise _WrongCall(f"--upstream-ca: {upstream_ca}: {error}") from None
    tell = partial(click.echo, err=True)
    checkups = _run(lambda store: check_folder(folder, store, trust, tell), tokens)
    if as_json:
        told = {
            "ok": all(one.ok for one in checkups),
            "environments": [{"ok": one.ok, **asdict(one)} for one in checkups],
        }
        _print(json.dumps(told, indent=2))
    else:
        _print("\n".join(table(checkups)))
    if not all(one.ok for one in checkups):
        sys.exit(1)


@main.command()
@click.argument("name", shell_complete=_complete)
@_environment_options
@click.option("--browser/--no-browser", default=True, help="Open the browser, or only print the URL.")
def login(name: str, envs: str, tokens: str, browser: bool) -> None:
    """Log in to an environment whose API wants a person.

    With GRANT_TYPE=authorization_code in a browser on this machine, with device_code on any device. What comes of it is
    kept where --tokens says; mitmproxy finds it there, also while it runs, and renews it from then on.

    \b
    Examples:
      credential-injector login qa
      credential-injector login qa --tokens redis://127.0.0.1:6379/0
    """
    environment = _run(lambda store: _login(_folder(envs, name), store, browser=browser), tokens)
    _print(f"{environment.name}: logged in")


# --- What the commands share ------------------------------------------------------------------------------------------


def _print(text: str) -> None:
    """Write to standard output. Where that is full or closed, ends the command with a line on standard error."""
    try:
        if sys.stdout is None:  # it was closed before the start, for which Python has no file
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        click.echo(text)
    except OSError as error:
        if sys.stdout is not None:  # else Python tries to write the rest again when it ends, and complains
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        reason = f"standard output cannot be written ({error.strerror}); check the file or the program that it goes to"
        raise click.ClickException(reason) from None


class _WrongCall(click.ClickException):
    """One line, unlike click's own usage errors."""

    exit_code = 2


def _folder(envs: str, *names: str) -> Folder:
    """The folder, of which only these environments count; without names, all of them."""
    try:
        folder = open_folder(envs, names)
        known = folder.names()
    except InvalidEnvironments as error:
        raise _WrongCall(f"--envs: {_mistakes(error.mistakes)}") from None
    if not known:
        if misnamed := folder.misnamed():
            raise _WrongCall(_mistakes(misnamed))
        todo = folder.found_instead() or f"write {(*names, 'dev')[0]}.env there, or name another folder"
        raise _WrongCall(f"--envs: no environment file in {folder.path.absolute()}; {todo}")
    for name in names:
        if name not in known:
            meant = did_you_mean(name, known, cutoff=0.5) or f", one of {', '.join(known)} was expected"
            raise _WrongCall(f"{folder.path / name}.env does not exist{meant}")
    return folder


def _mistakes(mistakes: Sequence[str]) -> str:
    return "\n".join(mistake.removeprefix("inject_envs: ") for mistake in mistakes)


def _run(work: Callable[["TokenStore | None"], Coroutine[Any, Any, T]], tokens: str) -> T:
    """Do it with the store that `tokens` names. Ends the command where there is no token."""
    try:
        store = open_store(tokens)
    except ValueError as error:
        raise _WrongCall(f"--tokens: {error}") from None

    async def run() -> T:
        async with AsyncExitStack() as opened:
            if store is not None:
                opened.push_async_callback(store.close)
            return await work(store)

    try:
        return asyncio.run(run())
    except InvalidEnvironments as error:
        raise click.ClickException(_mistakes(error.mistakes)) from None


async def _token(folder: Folder, store: "TokenStore | None") -> tuple[Environment, Served]:
    routes = Routes()
    routes.load(folder, store)
    (name,) = routes.names()
    route = routes.named(name)
    assert route is not None  # noqa: S101 - its name has just come from there
    try:
        return route.environment, await route.source.token()
    except NoToken as error:
        raise click.ClickException(f"{name}: {messages.failure(route.environment, error)}") from None


async def _login(folder: Folder, store: "TokenStore | None", *, browser: bool) -> Environment:
    from credential_injector.tokens.login import LOGINS, Terminal, log_in  # imports what opens connections
    from credential_injector.tokens.store import cause

    (environment,) = await in_thread(folder.read, "environment files")
    grant = environment.token_request.grant_type
    if grant not in LOGINS:
        raise _WrongCall(f"{environment.file}: GRANT_TYPE={grant} needs no login, only {' and '.join(LOGINS)} do")

    async def browse(url: str) -> None:
        if not browser:
            return
        with suppress(webbrowser.Error):
            await in_thread(partial(webbrowser.open, url), "browser")

    try:
        token = await log_in(environment, store, Terminal(partial(click.echo, err=True), browse))
    except NoToken as error:
        raise click.ClickException(f"{environment.name}: {messages.failure(environment, error)}") from None
    except Exception as error:  # noqa: BLE001 - whatever the store raises
        raise click.ClickException(
            f"{environment.name}: the login cannot be kept ({cause(error)}); name another place with --tokens"
        ) from None
    if token.refresh_token is None:
        click.echo(
            f"{environment.name}: the server gave no refresh token, so the login lasts for "
            f"{messages.duration(token.expires_at - token.issued_at)}; for a longer one, SCOPE may need offline_access",
            err=True,
        )
    return environment

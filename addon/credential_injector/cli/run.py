"""`credential-injector run`."""

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from credential_injector.cli.env import CA, certificate
from credential_injector.cli.environments import complete
from credential_injector.cli.output import WrongCall, lines
from credential_injector.environments.environment import Environment
from credential_injector.environments.folder import DEFAULT_FOLDER, InvalidEnvironments, open_folder
from credential_injector.launch import command as commands
from credential_injector.launch.confinement import Confinement, confinement
from credential_injector.launch.files import write_files
from credential_injector.launch.programs import NotStarted
from credential_injector.launch.proxy import Proxy, started
from credential_injector.launch.variables import Variable, rows, variables

_NOTHING_ISOLATED = (
    "no request got a token: the command sent none to a configured host, or mitmproxy could not connect to that host"
)
_NOTHING = f"{_NOTHING_ISOLATED}, or the command does not use the proxy (try --isolate)"


@dataclass(frozen=True, slots=True)
class _Wanted:
    env: str
    envs: str
    tokens: str
    proxy: str | None
    ca: str | None
    web: bool
    preload: bool
    isolate: bool
    password: bool
    verbose: bool
    settings: tuple[str, ...]
    words: tuple[str, ...]


@click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.option("--env", default="", metavar="NAMES", help="Only these environments.", shell_complete=complete)
@click.option("--envs", default="", metavar="DIR", help="Folder of environment files. [default: envs]")
@click.option("--tokens", default="", help="Where tokens are kept, as mitmproxy's option inject_tokens.")
@click.option("--proxy", metavar="URL", help="Use a proxy that runs, and start none.")
@click.option("--ca", metavar="FILE", help=f"That proxy's certificate. [default: {CA}]")
@click.option("--web", is_flag=True, help="Show the requests in mitmweb, whose address is printed.")
@click.option("--preload", is_flag=True, help="Load a script into each Node and Python, too (docs/clients.md).")
@click.option("--isolate", is_flag=True, help="Lead connections to the proxy without any variable (Linux).")
@click.option("--password", is_flag=True, help="Let in clients by a password, not because they are the command's.")
@click.option("-v", "--verbose", is_flag=True, help="Say what is set, and what happens.")
@click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, help="An option of mitmproxy's.")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@click.pass_context
def run(ctx: click.Context, /, **given: object) -> None:
    """Run a command whose requests to configured hosts get their token.

    It starts a proxy of its own, and sets variables for this command alone. The exit code is the command's.

    \b
    Examples:
      credential-injector run -- curl https://api.qa.example.com/orders
      credential-injector run --env qa --web -- npm test
      credential-injector run --isolate -- ./a-static-binary
    """
    wanted = _Wanted(**given)  # type: ignore[arg-type]
    try:
        ctx.exit(_run(wanted))
    except commands.NoCommand as error:
        _say(str(error))
        ctx.exit(error.code)
    except NotStarted as error:
        raise WrongCall(str(error)) from None


def _run(wanted: _Wanted) -> int:
    if wanted.proxy is not None and any((wanted.web, wanted.password, wanted.settings, wanted.tokens)):
        raise WrongCall(
            "--proxy: that proxy runs already, so --web, --password, --set and --tokens cannot be used; leave them out"
        )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="credential-injector-")))
        if wanted.proxy is None:
            proxy = stack.enter_context(_own_proxy(wanted))
            url, ca = proxy.url, proxy.ca
        else:
            url, ca = wanted.proxy, certificate(wanted.ca or str(CA))
        files = write_files(folder, ca, preload=wanted.preload)
        prefix: list[str] = []
        pass_fds: tuple[int, ...] = ()
        if wanted.isolate:
            from credential_injector.launch.isolation import isolated  # here, as few need it

            origins = [origin for environment in _environments(wanted) for origin in environment.origins]
            at = urlsplit(url)
            address = at.hostname or "", at.port or 8080
            user, password = (None if one is None else unquote(one) for one in (at.username, at.password))
            inside = stack.enter_context(isolated(address, password, origins, files, user or ""))
            prefix, pass_fds = inside.words, inside.pass_fds
        given = variables(None if wanted.isolate else url, files)
        if wanted.verbose:
            _tell_variables(given, rows(proxy=not wanted.isolate, preload=wanted.preload), urlsplit(url).password)
        environ = {name: value for name, value in {**os.environ, **given}.items() if value is not None}
        return commands.run([*prefix, *wanted.words], environ, pass_fds)


@contextmanager
def _own_proxy(wanted: _Wanted) -> Iterator[Proxy]:
    settings: dict[str, str] = {}
    for setting in wanted.settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise WrongCall(f"--set {setting}: has no value; expected NAME=VALUE")
        settings[name] = value
    given = {"inject_env": wanted.env, "inject_envs": wanted.envs, "inject_tokens": wanted.tokens}
    settings |= {name: value for name, value in given.items() if value}
    confined = Confinement() if "inject_clients" in settings else confinement(by_password=wanted.password)
    # What is not ours goes on as it would without us: this machine may trust more authorities than mitmproxy does.
    settings = {"inject_only": "true", **confined.settings, **settings}
    upstream, secret = _company_proxy(os.environ)
    if upstream and "mode" not in settings:
        settings["mode"] = f"upstream:{upstream}"
        if wanted.verbose:
            _say(f"HTTPS_PROXY was set before: every request goes on through {upstream}, whatever NO_PROXY says")
    least = logging.INFO if wanted.verbose else logging.WARNING

    def tell(level: int, text: str) -> None:
        if level >= least:
            _say(text)

    with started("mitmweb" if wanted.web else "mitmdump", settings, tell, {**secret, **confined.secret}) as proxy:
        proxy.login = confined.login
        if proxy.web_url:
            _say(f"mitmweb shows the requests: {proxy.web_url}")
        yield proxy
    for line in proxy.summary or [_NOTHING_ISOLATED if wanted.isolate else _NOTHING]:
        _say(line)


def _company_proxy(environ: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The proxy through which this machine goes out, and mitmproxy's option with its login, which is secret."""
    url = urlsplit(environ.get("https_proxy") or environ.get("HTTPS_PROXY") or "")
    if url.scheme not in ("http", "https") or not url.hostname:
        return "", {}
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    at = f"{url.scheme}://{host}:{url.port or (443 if url.scheme == 'https' else 80)}"
    login = f"{unquote(url.username)}:{unquote(url.password or '')}" if url.username else ""
    return at, {"upstream_auth": login} if login else {}


def _environments(wanted: _Wanted) -> tuple[Environment, ...]:
    names = [name.strip() for name in wanted.env.split(",") if name.strip()]
    try:
        return open_folder(wanted.envs or DEFAULT_FOLDER, names).read()
    except InvalidEnvironments as error:
        raise WrongCall(lines(error.mistakes)) from None


def _tell_variables(given: Mapping[str, str | None], table: list[Variable], secret: str | None) -> None:
    for row in table:
        for name in row.names:
            value = given[name]
            if value is not None and secret:
                value = value.replace(secret, "<password>")
            _say(f"{name} is not set any more" if value is None else f"{name}={value}", f"for {row.readers}")


def _say(text: str, more: str = "") -> None:
    for line in text.splitlines():
        click.echo(f"credential-injector: {line}{f'  ({more})' if more else ''}", err=True)

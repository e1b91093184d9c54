"""`credential-injector envoy`."""

import asyncio
import logging
import signal
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from credential_injector.cli.environments import complete, envs_option, find_folder, run_with_store, tokens_option
from credential_injector.cli.envoy_options import MOST_GROUPS, check_places, number, own_folder, wanted_by
from credential_injector.cli.output import WrongCall
from credential_injector.environments.folder import Folder
from credential_injector.envoy.configuration import Wanted
from credential_injector.envoy.engine import Engine
from credential_injector.envoy.files import Files
from credential_injector.envoy.limits import GENERAL, lacks
from credential_injector.envoy.listeners import FORWARD
from credential_injector.launch.envoy import LOOK, PATIENCE, WORDS, Envoy, check, find
from credential_injector.launch.programs import NotStarted
from credential_injector.launch.trusted import certificates, trusted
from credential_injector.proxy.routes import Routes
from credential_injector.threads import in_thread

if TYPE_CHECKING:
    from credential_injector.tokens.store import TokenStore

NAMED = 20  # environments that are named one by one
_CONFDIR = "~/.mitmproxy"


@click.command()
@click.argument("names", nargs=-1, shell_complete=complete)
@click.option(
    "--listen", default="127.0.0.1:8080", show_default=True, metavar="ADDRESS", help="Where the proxy listens."
)
@click.option(
    "--reverse",
    "reverses",
    multiple=True,
    metavar="NAME=ADDRESS",
    help="A reverse proxy in front of an environment's host, for programs with a base URL.",
)
@click.option("--clients", default="loopback", show_default=True, metavar="NETWORKS", help="Clients that are served.")
@click.option("--dir", "directory", metavar="DIR", help="Envoy's folder. [default: a temporary one]")
@click.option("--group", metavar="ID", type=int, help="The number of a group that may read the folder.")
@click.option("--config-only", is_flag=True, help="Feed the folder for an Envoy that somebody else starts.")
@click.option(
    "--admin", default=0, metavar="PORT", help="The port of Envoy's admin page on 127.0.0.1. [default: a free one]"
)
@click.option("--confdir", default=_CONFDIR, show_default=True, metavar="DIR", help="Where mitmproxy's CA is.")
@click.option("--upstream-ca", metavar="FILE", help="Authorities that may have issued the APIs' certificates, too.")
@click.option("--strict", is_flag=True, help="Refuse environments that ask for something Envoy does not do.")
@click.option("-v", "--verbose", is_flag=True, help="Say what Envoy does not do, and what happens.")
@envs_option
@tokens_option
def envoy(  # noqa: PLR0917 - click gives each by its name
    names: tuple[str, ...],
    listen: str,
    reverses: tuple[str, ...],
    clients: str,
    directory: str | None,
    group: int | None,
    config_only: bool,
    admin: int,
    confdir: str,
    upstream_ca: str | None,
    strict: bool,
    verbose: bool,
    envs: str,
    tokens: str,
) -> None:
    """Run Envoy as the proxy, and keep it in tokens.

    For many requests a second: the environment files, the CA and the rules stay, and Envoy takes mitmproxy's place. It
    fetches a token for each of NAMES (by default all) at its start, and renews it whether or not requests come. Clients
    trust mitmproxy's CA as before. See docs/fleet.md.

    \b
    Examples:
      credential-injector envoy
      curl -x http://127.0.0.1:8080 --cacert ~/.mitmproxy/mitmproxy-ca-cert.pem https://api.qa.example.com/orders
      credential-injector envoy qa --reverse qa=127.0.0.1:9001
      credential-injector envoy --tokens redis://127.0.0.1:6379/0 --config-only --dir /run/envoy
    """
    folder = find_folder(envs, *names)
    try:
        if not config_only:
            find()
        wanted = wanted_by(listen, reverses, clients, admin, folder.names())
        check_places(wanted, config_only=config_only)
        number("--group", group or 0, MOST_GROUPS)
        where = own_folder(directory, config_only=config_only)
    except NotStarted as error:
        raise WrongCall(str(error)) from None
    if upstream_ca is not None and not certificates(Path(upstream_ca)):
        raise WrongCall(f"--upstream-ca: {upstream_ca} holds no certificate in PEM, or cannot be read")
    text = "\n".join(trusted([Path(upstream_ca)] if upstream_ca else []))
    _tell_log(verbose=verbose)
    with ExitStack() as stack:
        path = where or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="credential-injector-envoy-")))
        command = _Command(folder, Files(path, group=group), wanted, text, Path(confdir).expanduser().absolute())
        command.strict, command.verbose, command.config_only = strict, verbose, config_only
        raise SystemExit(run_with_store(command.run, tokens))


class _Command:
    """The command, from its start to its end."""

    strict = False
    verbose = False
    config_only = False

    def __init__(self, folder: Folder, files: Files, wanted: Wanted, trusted_ca: str, confdir: Path) -> None:
        self._folder = folder
        self._files = files
        self._wanted = wanted
        self._trusted = trusted_ca
        self._confdir = confdir

    async def run(self, store: "TokenStore | None") -> int:
        """Until a signal ends it, or Envoy ends. Returns the exit code."""
        from credential_injector.proxy.leaf import Authority  # here, as it imports mitmproxy

        ends = asyncio.Event()
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(one, ends.set)
        changed = asyncio.Event()
        routes = Routes(changed=changed.set)
        try:
            authority = await in_thread(lambda: Authority(self._confdir), "mitmproxy's CA")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is malformed"
            raise WrongCall(
                f"--confdir: mitmproxy's CA in {self._confdir} cannot be used ({why}); name another folder, or mend"
                " mitmproxy-ca.pem there"
            ) from None
        routes.load(self._folder, store)
        engine = Engine(
            routes,
            changed,
            wanted=self._wanted,
            files=self._files,
            authority=authority,
            trusted=self._trusted,
        )
        tasks: list[asyncio.Task[bool] | asyncio.Task[None]] = [asyncio.create_task(ends.wait())]
        try:
            names = routes.names()
            if self._tell_lacks([f"{name}: {line}" for name in names for line in _lacks(routes, name)]):
                return 2
            _say(
                f"asking for the tokens of {', '.join(names) if len(names) <= NAMED else f'{len(names)} environments'}"
            )
            tasks.append(asyncio.create_task(engine.begin()))
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if ends.is_set():
                return 0
            await tasks[1]
            routes.watch()
            tasks.append(asyncio.create_task(engine.run()))
            return await (self._feed(ends) if self.config_only else self._serve(ends, authority.file))
        except ValueError as error:
            raise WrongCall(str(error)) from None
        except OSError as error:
            raise click.ClickException(_what(error)) from None
        finally:
            for task in tasks:
                task.cancel()
            engine.end()
            routes.close()
            if not self.config_only:
                self._files.end()

    def _tell_lacks(self, lacks: Sequence[str]) -> bool:
        """Say what Envoy does not do. Returns whether that is a reason not to start."""
        for line in [*(GENERAL if self.verbose else ()), *lacks]:
            _say(f"Envoy: {line}")
        if self.strict and lacks:
            _say("--strict: not started, because of the above; use mitmproxy for these environments")
            return True
        if not self.verbose:
            _say(f"what Envoy does otherwise than mitmproxy is in {self._files.paths.of('envoy.yaml')}; -v prints it")
        return False

    async def _feed(self, ends: asyncio.Event) -> int:
        _say(f"feeding {self._files.folder}; start: envoy -c {self._files.paths.of('envoy.yaml')} {' '.join(WORDS)}")
        await ends.wait()
        return 0

    async def _serve(self, ends: asyncio.Event, ca: Path) -> int:
        """Run Envoy until a signal comes, or it ends."""
        try:
            running = Envoy(
                self._files.paths.of("envoy.yaml"),
                Path(self._files.paths.of("admin")),
                lambda line: _say(f"Envoy: {line}"),
            )
        except NotStarted as error:
            raise click.ClickException(str(error)) from None
        ended = asyncio.create_task(in_thread(running.wait, "Envoy"))
        asked = asyncio.create_task(ends.wait())
        try:
            admin = await self._ready(running, asked)
            if admin is not None:
                await in_thread(lambda: check(admin), "Envoy's configuration")
                places = await in_thread(lambda: running.listeners(admin), "Envoy's listeners")
                _say(f"the proxy is http://{places.get(FORWARD, self._wanted.listen)}; clients must trust {ca}")
                for one in self._wanted.reverse:
                    place = places.get(f"reverse {one.environment}", str(one.address))
                    _say(f"{one.environment} is at http://{place}, too")
                _say(f"figures: http://{admin}/stats/prometheus, and {self._files.paths.of('metrics.prom')}")
                await asyncio.wait([ended, asked], return_when=asyncio.FIRST_COMPLETED)
        except NotStarted as error:
            raise click.ClickException(str(error)) from None
        finally:
            asked.cancel()
            running.end()
        if ends.is_set():
            return 0
        code = await ended
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise click.ClickException(f"Envoy ended ({how}); start this command again")

    async def _ready(self, running: Envoy, asked: "asyncio.Task[bool]") -> str | None:
        """Where its admin page is. None: a signal came before. Raises NotStarted."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not asked.done():
                    address = await in_thread(running.address, "Envoy's start")
                    if address is not None:
                        return address
                    await asyncio.sleep(LOOK)
                return None
        raise NotStarted(f"Envoy did not serve within {PATIENCE:.0f} s; what it says about that is above")


def _lacks(routes: Routes, name: str) -> list[str]:
    route = routes.named(name)
    return [] if route is None else lacks(route.environment)


def _tell_log(*, verbose: bool) -> None:
    """The add-on's own words on standard error."""

    class _Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            _say(record.getMessage())

    logger = logging.getLogger("credential_injector")
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    logger.addHandler(_Handler())


def _what(error: OSError) -> str:
    return f"{error.filename or 'a file'}: cannot be written ({error.strerror}); check --dir"


def _say(text: str) -> None:
    for line in text.splitlines():
        click.echo(f"credential-injector: {line}", err=True)

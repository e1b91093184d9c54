"""Where the commands find environments and tokens: the options and arguments that say it, and what they name."""

import asyncio
import shlex
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from credential_injector.cli.output import WrongCall, lines, program
from credential_injector.environments.folder import DEFAULT_FOLDER, Folder, InvalidEnvironments, open_folder
from credential_injector.environments.spelling import did_you_mean
from credential_injector.tokens.open_store import open_store

if TYPE_CHECKING:
    from credential_injector.tokens.store import TokenStore

T = TypeVar("T")


def envs_option(command: Callable[..., None]) -> Callable[..., None]:
    """Where environments are: the same as mitmproxy's option."""
    return click.option(
        "--envs",
        default=DEFAULT_FOLDER,
        show_default=True,
        help="Folder of environment files, as mitmproxy's option inject_envs.",
    )(command)


def tokens_option(command: Callable[..., None]) -> Callable[..., None]:
    """Where tokens are: the same as mitmproxy's option."""
    return click.option(
        "--tokens",
        default="memory",
        show_default=True,
        help="Where tokens are kept, as mitmproxy's option inject_tokens. Logins are kept with memory, too.",
    )(command)


def complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of environments that begin like this."""
    try:
        names = open_folder(ctx.params.get("envs") or DEFAULT_FOLDER).names()
    except InvalidEnvironments:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def find_folder(envs: str, *names: str) -> Folder:
    """The folder, of which only these environments count; without names, all of them."""
    try:
        folder = open_folder(envs, names)
        known = folder.names()
    except InvalidEnvironments as error:
        raise WrongCall(f"--envs: {lines(error.mistakes)}") from None
    if not known:
        if misnamed := folder.misnamed():
            raise WrongCall(lines(misnamed))
        option = "" if envs == DEFAULT_FOLDER else f" --envs {shlex.quote(envs)}"
        command = f"{program('credential-injector')} init {(*names, 'dev')[0]}{option}"
        todo = folder.found_instead() or f"name another folder, or run: {command}"
        raise WrongCall(f"--envs: no environment file in {folder.path.absolute()}; {todo}")
    for name in names:
        if name not in known:
            meant = did_you_mean(name, known, cutoff=0.5) or f"; expected one of {', '.join(known)}"
            raise WrongCall(f"{folder.path / name}.env does not exist{meant}")
    return folder


def run_with_store(work: Callable[["TokenStore | None"], Coroutine[Any, Any, T]], tokens: str) -> T:
    """Do it with the store that `tokens` names. Ends the command where an environment file is wrong."""
    try:
        store = open_store(tokens)
    except ValueError as error:
        raise WrongCall(f"--tokens: {error}") from None

    async def run() -> T:
        async with AsyncExitStack() as opened:
            if store is not None:
                opened.push_async_callback(store.close)
            return await work(store)

    try:
        return asyncio.run(run())
    except InvalidEnvironments as error:
        raise click.ClickException(lines(error.mistakes)) from None

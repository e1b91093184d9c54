"""`credential-injector login`."""

import webbrowser
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import click

from credential_injector import messages
from credential_injector.cli.environments import complete, envs_option, find_folder, run_with_store, tokens_option
from credential_injector.cli.output import WrongCall, write
from credential_injector.environments.environment import Environment
from credential_injector.environments.folder import Folder
from credential_injector.oauth.token import NoToken
from credential_injector.threads import in_thread

if TYPE_CHECKING:
    from credential_injector.tokens.store import TokenStore


@click.command()
@click.argument("name", shell_complete=complete)
@envs_option
@tokens_option
@click.option("--browser/--no-browser", default=True, help="Open the browser, or only print the URL.")
def login(name: str, envs: str, tokens: str, browser: bool) -> None:
    """Log in to an environment whose API wants a person.

    GRANT_TYPE=authorization_code opens a browser on this machine; with device_code any device will do. The login is
    kept where --tokens says. mitmproxy finds it there, even while it runs, and renews it from then on.

    \b
    Examples:
      credential-injector login qa
      credential-injector login qa --tokens redis://127.0.0.1:6379/0
    """
    folder = find_folder(envs, name)
    try:
        environment = run_with_store(lambda store: _login(folder, store, browser=browser), tokens)
    except KeyboardInterrupt:
        raise click.ClickException(f"{name}: login given up; nothing was stored") from None
    write(f"{environment.name}: logged in")


async def _login(folder: Folder, store: "TokenStore | None", *, browser: bool) -> Environment:
    from credential_injector.tokens.login import LOGINS, Terminal, log_in  # imports what opens connections
    from credential_injector.tokens.provider import Provider
    from credential_injector.tokens.store import cause

    (environment,) = await in_thread(folder.read, "environment files")
    grant = environment.token_request.grant_type
    if grant not in LOGINS:
        raise WrongCall(f"{environment.file}: GRANT_TYPE={grant} needs no login; only {' and '.join(LOGINS)} do")

    async def browse(url: str) -> None:
        if not browser:
            return
        with suppress(webbrowser.Error):
            await in_thread(partial(webbrowser.open, url), "browser")

    try:
        token = await log_in(environment, Provider(store), Terminal(partial(click.echo, err=True), browse))
    except NoToken as error:
        reason = messages.failure(environment, error, "" if store is None else store.option)
        raise click.ClickException(f"{environment.name}: {reason}") from None
    except Exception as error:  # noqa: BLE001 - whatever the store raises
        raise click.ClickException(
            f"{environment.name}: the login cannot be stored ({cause(error)}); name another place with --tokens"
        ) from None
    if token.refresh_token is None:
        click.echo(
            f"{environment.name}: the server gave no refresh token, so the login lasts for "
            f"{messages.duration(token.expires_at - token.issued_at)}; for a longer one, SCOPE may need offline_access",
            err=True,
        )
    return environment

"""`credential-injector token`."""

import json
import os
import sys
from typing import TYPE_CHECKING

import click

from credential_injector import messages
from credential_injector.cli.environments import complete, envs_option, find_folder, run_with_store, tokens_option
from credential_injector.cli.output import lines, write
from credential_injector.cli.token_formats import FORMATS, READS_INPUT, Asked, NoAnswer, objection
from credential_injector.environments.environment import Environment
from credential_injector.environments.folder import Folder, InvalidEnvironments
from credential_injector.oauth.token import NoToken, Served
from credential_injector.proxy.credentials import outgoing
from credential_injector.threads import in_thread
from credential_injector.tokens.provider import Named, Provider

if TYPE_CHECKING:
    from credential_injector.tokens.store import TokenStore


@click.command()
@click.argument("name", shell_complete=complete)
@click.argument("operation", required=False, default="", type=click.Choice(["", "get", "store", "erase", "list"]))
@envs_option
@tokens_option
@click.option("--header", "form", flag_value="header", help="Print the header as the API gets it.")
@click.option("--json", "form", flag_value="json", help="Print the token with its expiry and headers.")
@click.option("--format", "other", type=click.Choice(list(FORMATS)), help="Answer as another program asks for it.")
@click.option("--username", default="oauth2", show_default=True, help="The name that goes with a token where one must.")
def token(  # noqa: PLR0917 - click gives each by its name
    name: str, operation: str, envs: str, tokens: str, form: str | None, other: str | None, username: str
) -> None:
    """Print the token of an environment.

    With --format kubectl, git, docker, npm and what reads .netrc get it in their own form; git and docker append the
    OPERATION, ask on standard input, and get it for the hosts of the file only.

    As in the proxy, the token comes from the store that --tokens names, or else from one token request. With -H @- curl
    (7.55 or newer) reads the header from its input, because other users of the machine can read its command line.

    \b
    Examples:
      credential-injector token qa
      credential-injector token qa --header | curl -H @- https://api.qa.example.com/orders
      credential-injector token qa --tokens ~/tokens.json --json
      git config credential.helper '!credential-injector token qa --format git'
    """
    folder = find_folder(envs, name)
    if other is not None:
        asked = _asked(folder, other, operation, username)
        # Before a token is asked for: whoever asks for another server, or to store something, needs none.
        if _answer(asked, other) and operation != "list":
            environment, served = run_with_store(lambda store: _token(folder, store), tokens)
            ends = None if served.seconds_left == float("inf") else served.token.expires_at
            write(_answer(asked._replace(value=served.token.value, expires_at=ends), other))
        elif operation == "list":
            write(_answer(asked, other))
        return
    environment, served = run_with_store(lambda store: _token(folder, store), tokens)
    try:
        headers, path = outgoing(environment, served.token)
    except NoToken as error:
        raise click.ClickException(f"{environment.name}: {messages.failure(environment, error)}") from None
    if form == "json":
        answer = {
            "environment": environment.name,
            "access_token": served.token.value,
            "expires_at": None if served.seconds_left == float("inf") else int(served.token.expires_at),
            "source": served.source,
            "headers": headers,
            "query": path.partition("?")[2],
        }
        write(json.dumps(answer, indent=2))
    elif form == "header":
        if environment.query:
            where = (
                f"{environment.name}: QUERY={environment.query} puts the credential into the URL, and not into a header"
            )
            raise click.ClickException(f"{where}; use --json, whose query is what goes behind the URL's question mark")
        if environment.token_request.value("DPOP") or environment.token_request.grant_type == "aws_sigv4":
            raise click.ClickException(f"{environment.name}: each request needs a signature of its own; use the proxy")
        name = environment.header or "Cookie"
        write(f"{name}: {headers[name]}")
    else:
        write(served.token.value)


def _asked(folder: Folder, form: str, operation: str, username: str) -> Asked:
    """What another program asks for."""
    try:
        (environment,) = folder.read()
    except InvalidEnvironments as error:
        raise click.ClickException(lines(error.mistakes)) from None
    if (why := objection(environment, form)) is not None:
        raise click.ClickException(f"{environment.name}: {why}")
    text = sys.stdin.read() if form in READS_INPUT and operation != "list" else ""
    return Asked(environment, "", None, username, operation, text, os.environ)


def _answer(asked: Asked, form: str) -> str:
    """The answer to another program; nothing where it gets none. Ends the command where it has to learn why."""
    try:
        return FORMATS[form](asked)
    except NoAnswer as error:
        click.echo(str(error))
        raise SystemExit(1) from None


async def _token(folder: Folder, store: "TokenStore | None") -> tuple[Environment, Served]:
    (environment,) = await in_thread(folder.read, "environment files")
    request, provider = environment.token_request, Provider(store)
    source = provider.source(request, environment.transport.completed(), Named(environment.name))
    try:
        served = await source.token()
    except NoToken as error:
        reason = messages.failure(environment, error, source.kept_in)
        raise click.ClickException(f"{environment.name}: {reason}") from None
    if provider.store_of(request) is not None and await provider.loses(request):
        click.echo(f"{environment.name}: {messages.lost_refresh_token(environment, source.kept_in)}", err=True)
    return environment, served

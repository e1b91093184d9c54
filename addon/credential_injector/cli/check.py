"""`credential-injector check`."""

import json
import sys
from dataclasses import asdict
from functools import partial

import click

from credential_injector.cli.environments import complete, envs_option, find_folder, run_with_store, tokens_option
from credential_injector.cli.output import WrongCall, write
from credential_injector.proxy.credentials import outgoing


@click.command()
@click.argument("names", nargs=-1, shell_complete=complete)
@envs_option
@tokens_option
@click.option(
    "--upstream-ca",
    metavar="FILE",
    default="",
    help="Authorities to trust, as mitmproxy's option ssl_verify_upstream_trusted_ca.",
)
@click.option(
    "--probe",
    "path",
    metavar="PATH",
    help="Send a GET for this path to the first API in each HOST, with the token, and tell what it answers.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def check(names: tuple[str, ...], *, envs: str, tokens: str, upstream_ca: str, path: str | None, as_json: bool) -> None:
    """Ask for a real token in each environment and say what is wrong.

    Checks each file and who may read it, the token endpoint and its TLS, the token's lifetime, the granted scope, the
    clock, and the TLS of each https API in HOST, as mitmproxy verifies it. An API that cannot be reached from here gets
    a note and is no mistake, unless --probe names a path: then an API that refuses the token, or does not answer, is
    one, and you read why. The exit code is 0 if all is good, 1 if something is wrong, and 2 if the command was
    called wrongly.

    \b
    Examples:
      credential-injector check
      credential-injector check qa uat --json
      credential-injector check --probe /orders?limit=1
      credential-injector check --upstream-ca company-and-public-ca.pem
    """
    from credential_injector.cli.table import table
    from credential_injector.tokens import upstream_tls  # imports what opens connections, as do these
    from credential_injector.tokens.checkup import check_folder
    from credential_injector.tokens.probe import Probe

    folder = find_folder(envs, *names)
    try:
        trust = upstream_tls.Trust(upstream_ca)
    except ValueError as error:
        raise WrongCall(f"--upstream-ca: {upstream_ca}: {error}") from None
    try:
        probe = None if path is None else Probe(path, outgoing, trust)
    except ValueError as error:
        raise WrongCall(f"--probe: {error}") from None
    tell = partial(click.echo, err=True)
    checkups = run_with_store(lambda store: check_folder(folder, store, trust, tell, probe), tokens)
    if as_json:
        told = {
            "ok": all(one.ok for one in checkups),
            "environments": [{"ok": one.ok, **asdict(one)} for one in checkups],
        }
        write(json.dumps(told, indent=2))
    else:
        write("\n".join(table(checkups)))
    if not all(one.ok for one in checkups):
        sys.exit(1)

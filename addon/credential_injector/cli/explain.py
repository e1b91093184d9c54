"""`credential-injector explain`."""

import json
import sys
from dataclasses import asdict

import click

from credential_injector.cli.environments import envs_option, find_folder
from credential_injector.cli.output import WrongCall, lines, write
from credential_injector.environments.folder import InvalidEnvironments
from credential_injector.proxy import explain as explaining
from credential_injector.proxy.policy import Policy
from credential_injector.proxy.routes import Routes
from credential_injector.proxy.written_request import THIS_MACHINE, written


@click.command()
@click.argument("url")
@click.option("--method", default="GET", show_default=True, help="The request's method.")
@click.option("--client", metavar="ADDRESS", default=THIS_MACHINE, show_default=True, help="The client's address.")
@click.option("--origin", default="", help="The origin of the page that makes the request, as http://localhost:3000.")
@click.option("--as", "asked_as", metavar="NAME", default="", help="What the header X-Inject-As says.")
@click.option(
    "--clients",
    metavar="NETWORKS",
    default="loopback",
    show_default=True,
    help="Clients that get tokens, as mitmproxy's option inject_clients.",
)
@envs_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def explain(  # noqa: PLR0917 - click gives each by its name
    url: str, method: str, client: str, origin: str, asked_as: str, clients: str, envs: str, as_json: bool
) -> None:
    """Say whether a request to URL gets a token, and why.

    Holds the request against the add-on's rules in their order, and names the file and the key that decides each. Where
    no file names the URL, it names the environment that comes nearest. The request is taken to have no header but the
    page's Origin, and mitmproxy's other options to be as they are by default. No connection is opened. The exit code is
    0 if the request gets a token, 1 if not, and 2 if the command was called wrongly.

    \b
    Examples:
      credential-injector explain https://api.qa.example.com/orders
      credential-injector explain https://api.qa.example.com/orders --method DELETE --json
      credential-injector explain https://api.qa.example.com/orders --client 192.168.1.23 --clients 192.168.1.0/24
      credential-injector explain https://api.qa.example.com/orders --origin http://localhost:3000
    """
    folder, policy = find_folder(envs), Policy(Routes())
    try:
        policy.admit(clients)
    except ValueError as error:
        raise WrongCall(f"--clients: {error}") from None
    try:
        request = written(url, method, client, origin, asked_as=asked_as)
    except ValueError as error:
        raise WrongCall(str(error)) from None
    try:
        policy.routes.load(folder, None)
    except InvalidEnvironments as error:
        raise click.ClickException(lines(error.mistakes)) from None
    explanation = explaining.explain(policy, request, str(folder.path.absolute()), request.assumed)
    gets = explanation.verdict == "injected"
    if as_json:
        write(json.dumps({"ok": gets, **asdict(explanation)}, indent=2))
    else:
        write("\n".join(explaining.lines(explanation)))
    if not gets:
        sys.exit(1)

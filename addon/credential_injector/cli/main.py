"""The command line: `credential-injector`."""

import click

from credential_injector import __version__
from credential_injector.cli.check import check
from credential_injector.cli.env import env
from credential_injector.cli.envoy import envoy
from credential_injector.cli.explain import explain
from credential_injector.cli.import_ import import_
from credential_injector.cli.init import init
from credential_injector.cli.learn import learn
from credential_injector.cli.login import login
from credential_injector.cli.mitmproxy import dump, web
from credential_injector.cli.path import path
from credential_injector.cli.redact import redact
from credential_injector.cli.report import report
from credential_injector.cli.run import run
from credential_injector.cli.token import token

_COMMANDS = (check, dump, env, envoy, explain, import_, init, learn, login, path, redact, report, run, token, web)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, commands=_COMMANDS)
@click.version_option(__version__)
def main() -> None:
    """A mitmproxy add-on that puts a valid OAuth2 token into requests to your APIs, whatever client sends them.

    \b
    Examples:
      credential-injector init qa
      credential-injector import orders.postman_collection.json
      credential-injector run -- curl https://api.qa.example.com/orders
      credential-injector web
      mitmdump -s "$(credential-injector path)"
      credential-injector check
      credential-injector explain https://api.qa.example.com/orders
      credential-injector login qa
      credential-injector token qa --header | curl -H @- https://api.qa.example.com/orders

    \b
    Completion of commands and environment names, in ~/.bashrc (zsh: zsh_source, fish: fish_source):
      eval "$(_CREDENTIAL_INJECTOR_COMPLETE=bash_source credential-injector)"
    """

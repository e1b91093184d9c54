"""`credential-injector path`."""

import click

from credential_injector.cli.output import write
from credential_injector.launch.programs import SCRIPT


@click.command()
def path() -> None:
    """Print the path of the script for mitmproxy's -s option."""
    write(str(SCRIPT))

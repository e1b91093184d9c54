"""`credential-injector path`."""

from pathlib import Path

import click

from credential_injector.cli.output import write


@click.command()
def path() -> None:
    """Print the path of the script for mitmproxy's -s option."""
    package = Path(__file__).resolve().parents[1]
    # Installed, the script lies in the package; in a clone, beside it.
    write(str(next(one for one in (package / "inject.py", package.parent / "inject.py") if one.is_file())))

"""The command line: `credential-injector`."""

from pathlib import Path

import click

from credential_injector import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """A mitmproxy add-on that makes any client's requests arrive authenticated.

    \b
    Example:
      mitmdump -s "$(credential-injector path)"
    """


@main.command()
def path() -> None:
    """Print the path of the script for mitmproxy's -s option."""
    package = Path(__file__).resolve().parent
    # Installed, the script lies in the package; in a clone, beside it.
    click.echo(next(script for script in (package / "inject.py", package.parent / "inject.py") if script.is_file()))

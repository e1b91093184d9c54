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
@click.argument("source", metavar="IN", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(dir_okay=False, path_type=Path))
def redact(source: Path, target: Path) -> None:
    """Copy a capture without the credentials that were injected into it.

    A mask stands in their place, in headers, URLs and bodies, and in that of proxyauth's passwords. What the clients
    themselves sent stays as it is. (mitmproxy with --set inject_mask=true saves no credential in the first place.)

    \b
    Example:
      credential-injector redact today.mitm shareable.mitm
    """
    from credential_injector import captures

    if target.exists():
        raise click.ClickException(f"{target}: exists already; name a file that does not")
    try:
        count, changed = captures.redact(source, target)
    except captures.Unreadable:
        raise click.ClickException(
            f"{source}: is no capture of mitmproxy's, or a damaged one; nothing was written"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{target}: cannot be written ({error.strerror})") from None
    click.echo(f"{target}: {count} flows, {changed} of them held a credential")


@main.command()
def path() -> None:
    """Print the path of the script for mitmproxy's -s option."""
    package = Path(__file__).resolve().parent
    # Installed, the script lies in the package; in a clone, beside it.
    click.echo(next(script for script in (package / "inject.py", package.parent / "inject.py") if script.is_file()))

"""`credential-injector redact`."""

from pathlib import Path

import click

from credential_injector.cli.output import write


@click.command()
@click.argument("source", metavar="IN", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(dir_okay=False, path_type=Path))
def redact(source: Path, target: Path) -> None:
    """Copy a capture without the credentials that the add-on put into it.

    A mask replaces each of them in headers, URLs and bodies, and proxyauth's passwords, too. What the clients sent
    themselves stays. With --set inject_mask=true mitmproxy saves no credential in the first place, except where the
    body of an answer repeats it. To find tokens there, run this as the user who ran mitmproxy, who has the key.

    \b
    Example:
      credential-injector redact today.mitm shareable.mitm
    """
    from credential_injector.proxy import captures  # imports mitmproxy

    if target.exists():
        raise click.ClickException(f"{target}: exists already; name a file that does not")
    try:
        count, changed = captures.redact(source, target)
    except captures.Unreadable:
        raise click.ClickException(
            f"{source}: is damaged or not a capture; expected a file that mitmproxy wrote; nothing was written"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{target}: cannot be written ({error.strerror})") from None
    write(f"{target}: {count} flow{'' if count == 1 else 's'}, {changed} of them held a credential")

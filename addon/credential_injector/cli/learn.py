"""`credential-injector learn`."""

from pathlib import Path

import click

from credential_injector.cli.environments import envs_option
from credential_injector.cli.import_ import write_drafts


@click.command()
@click.argument("capture", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@envs_option
@click.option("--name", metavar="NAME", default="", help="The environment's name. Default: the API's host.")
@click.option("--secret", is_flag=True, help="Take over secrets, too. Without it they are left to be filled in.")
@click.option("--force", is_flag=True, help="Overwrite environment files that exist already.")
def learn(capture: Path, *, envs: str, name: str, secret: bool, force: bool) -> None:
    """Write environment files from token requests in a capture.

    Finds each token request that passed mitmproxy (of Postman, of an app), and the hosts at which its token was used
    then. In mitmweb and mitmproxy the command inject.learn does the same with a flow. Only you can read what is
    written. The exit code is 0 if it was written, 1 if nothing was written, and 2 if the command was called wrongly.

    \b
    Examples:
      mitmdump -w today.mitm
      credential-injector learn today.mitm --name qa
      credential-injector learn today.mitm --name qa --secret
    """
    from credential_injector.proxy import captures, learning  # imports mitmproxy

    try:
        drafts = learning.learn_from_capture(capture, name=name, secret=secret)
    except learning.NothingLearned:
        raise click.ClickException(
            f"{capture}: holds no token request that was answered with a token; let the client log in through the proxy"
            " while mitmdump -w FILE runs; nothing was written"
        ) from None
    except captures.Unreadable:
        raise click.ClickException(
            f"{capture}: is damaged or not a capture; expected a file that mitmproxy wrote; nothing was written"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{capture}: cannot be read ({error.strerror})") from None
    write_drafts(drafts, envs, force=force)

"""`credential-injector web` and `credential-injector dump`."""

import os

import click

from credential_injector.cli.output import WrongCall
from credential_injector.launch import phone as phones
from credential_injector.launch.programs import SCRIPT, NotStarted, become, program


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--phone",
    metavar="[ADDRESS]",
    is_flag=False,
    flag_value=phones.WIREGUARD,
    help="Listen on the network for one phone, and show QR codes for it. ADDRESS is the phone's, which then may use the"
    " HTTP proxy, too; or one of this machine's, on which WireGuard listens.",
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[MITMWEB'S OPTIONS]...")
def web(phone: str | None, options: tuple[str, ...]) -> None:
    """Start mitmweb with the add-on.

    \b
    Examples:
      credential-injector web
      credential-injector web --phone
      credential-injector web --phone=192.168.1.23 --listen-port 9090
    """
    try:
        words = [program("mitmweb"), "-s", str(SCRIPT)]
        if phone is not None:
            words += phones.options(phone, options)
            os.umask(0o077)  # mitmproxy writes WireGuard's keys so that everybody here could read them
    except ValueError as error:
        raise WrongCall(f"--phone: {error}") from None
    except NotStarted as error:
        raise click.ClickException(str(error)) from None
    become([*words, *options])


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[MITMDUMP'S OPTIONS]...")
def dump(options: tuple[str, ...]) -> None:
    """Start mitmdump with the add-on.

    \b
    Examples:
      credential-injector dump
      credential-injector dump --listen-port 9090 --set inject_env=qa
    """
    try:
        words = [program("mitmdump"), "-s", str(SCRIPT)]
    except NotStarted as error:
        raise click.ClickException(str(error)) from None
    become([*words, *options])

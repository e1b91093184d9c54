"""`credential-injector env`."""

import os
from pathlib import Path

import click

from credential_injector.cli.output import write
from credential_injector.launch.files import write_files
from credential_injector.launch.shells import SHELLS, shell_of
from credential_injector.launch.variables import variables
from credential_injector.permissions import Look

CA = Path("~/.mitmproxy/mitmproxy-ca-cert.pem")
_FOLDER = "credential-injector-env"


@click.command()
@click.option("--shell", type=click.Choice([*SHELLS]), help="For which shell. [default: yours]")
@click.option("--proxy", default="http://127.0.0.1:8080", show_default=True, help="The proxy's URL.")
@click.option("--ca", default=str(CA), show_default=True, help="mitmproxy's certificate.")
@click.option("--preload", is_flag=True, help="Reach into Node and Python programs that know no proxy, too.")
def env(shell: str | None, proxy: str, ca: str, preload: bool) -> None:
    """Print what makes a shell's programs use the proxy and trust its certificate.

    It sets variables only, which end with the shell. The files that they name are written beside the certificate.

    \b
    Examples:
      eval "$(credential-injector env)"
      credential-injector env --shell fish | source
      credential-injector env --shell powershell | Out-String | Invoke-Expression
      credential-injector env --shell dotenv > proxy.env
    """
    shell = shell or shell_of(os.environ, windows=os.name == "nt")
    path = certificate(ca)
    given = variables(proxy, write_files(env_folder(path), path, preload=preload))
    lines = [SHELLS[shell](name, value) for name, value in given.items()]
    write("\n".join(["# These end with the shell. To undo them before, start another one.", *lines]))


def certificate(ca: str) -> Path:
    """mitmproxy's certificate. Ends the command with a line where there is none."""
    try:
        path = Path(ca).expanduser().absolute()  # the shell changes its folder
        if path.is_file():
            return path
    except (OSError, RuntimeError, ValueError):
        pass
    raise click.ClickException(
        f"{ca}: there is no certificate; start mitmproxy once, which makes it, or name another with --ca"
    )


def env_folder(ca: Path) -> Path:
    """Where the files are that outlive the command: one folder for each certificate."""
    folder = ca.parent / _FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"{folder} cannot be made ({error.strerror})") from None
    # Programs in it come first on PATH.
    if (objection := Look().objection(folder)) is not None:
        raise click.ClickException(f"{folder}: {objection}; or name a certificate in another folder with --ca")
    return folder

"""`credential-injector init`."""

import os
import re
import shlex
from contextlib import suppress
from pathlib import Path

import click

from credential_injector.cli.environments import envs_option
from credential_injector.cli.output import WrongCall, program, write
from credential_injector.environments.file_names import OWN_EXAMPLE
from credential_injector.environments.folder import DEFAULT_FOLDER


@click.command()
@click.argument("name", default="dev")
@envs_option
def init(name: str, envs: str) -> None:
    """Write an environment file to fill in.

    The file explains every key. Nothing is overwritten. The exit code is 0 if the file was written, 1 if it exists
    already or cannot be written, and 2 if the command was called wrongly.

    \b
    Examples:
      credential-injector init
      credential-injector init qa --envs ~/envs
    """
    if re.search(r"\.env$", name, re.IGNORECASE):
        raise WrongCall(f"NAME: {name!r} ends with .env; expected the name alone, such as qa")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise WrongCall(f"NAME: {name!r} is malformed; expected letters, digits, -, _ and dots, such as qa")
    # A value of the example's would look right, and `check` could not tell that nobody has filled it in.
    text = re.sub(r"^([A-Z_]+)=.*$", r"\1=", _example().read_text(encoding="utf-8"), flags=re.MULTILINE)
    _write_new(Path(envs), f"{name}.env", text)
    keys = re.findall(r"^([A-Z_]+)=", text, re.MULTILINE)
    option = "" if envs == DEFAULT_FOLDER else f" --envs {shlex.quote(envs)}"
    setting = "" if envs == DEFAULT_FOLDER else f" --set inject_envs={shlex.quote(envs)}"
    own = program("credential-injector")
    write(
        f"{Path(envs) / name}.env is written; fill in {', '.join(keys[:-1])} and {keys[-1]}\n"
        "\n"
        "Then run:\n"
        f"  {own} check {name}{option}\n"
        f'  {program("mitmweb")} -s "$({own} path)"{setting}'
    )


def _example() -> Path:
    """Installed, it lies in the package; in a clone, in envs/."""
    package = Path(__file__).resolve().parents[1]
    places = (package / OWN_EXAMPLE, package.parents[1] / "envs" / OWN_EXAMPLE)
    return next(place for place in places if place.is_file())


def _write_new(folder: Path, name: str, text: str) -> None:
    """A file that only this user can read, in a folder that is made where there is none."""
    try:
        folder = folder.expanduser()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if not folder.is_dir():
            raise WrongCall(f"--envs: {folder} is a file; expected a folder") from None
        raise click.ClickException(f"{folder / name} exists already; nothing was written") from None
    except (OSError, RuntimeError, ValueError) as error:  # also of an unknown user, or with a NUL
        raise click.ClickException(f"{folder / name} cannot be written ({_reason(error)})") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        with suppress(OSError):
            (folder / name).unlink()
        raise click.ClickException(f"{folder / name} cannot be written ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return error.strerror or "" if isinstance(error, OSError) else str(error)

"""`credential-injector import`."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from credential_injector.cli.environments import envs_option
from credential_injector.cli.output import WrongCall, program, write
from credential_injector.environments.file_names import printable
from credential_injector.environments.folder import DEFAULT_FOLDER

if TYPE_CHECKING:
    from credential_injector.imports.draft import Draft
    from credential_injector.imports.env_text import Secrets
    from credential_injector.imports.written import Written


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@envs_option
@click.option("--name", metavar="NAME", help="The environment's name; of several in the file, import this one only.")
@click.option(
    "--secrets",
    type=click.Choice(["file", "env"]),
    default="file",
    show_default=True,
    help="Where secrets go: into the file, or, with env, into variables that the file names as ${NAME}.",
)
@click.option("--force", is_flag=True, help="Overwrite environment files that exist already.")
def import_(files: tuple[Path, ...], *, envs: str, name: str | None, secrets: "Secrets", force: bool) -> None:
    """Write environment files from what other programs know.

    FILE is a Postman collection or environment, JetBrains' http-client.env.json, a Bruno collection, an Insomnia
    export, an OpenAPI document, or a curl command of a token request; - reads standard input. Further files are
    environments that fill in a collection's variables. Nothing in a file is run. Only you can read what is written. The
    exit code is 0 if it was written, 1 if nothing was written, and 2 if the command was called wrongly.

    \b
    Examples:
      credential-injector import orders.postman_collection.json qa.postman_environment.json
      credential-injector import http-client.env.json --name qa --secrets env
      credential-injector import - < curl.txt
    """
    from credential_injector.imports import formats  # late, as are the next two: other commands need none of them
    from credential_injector.imports.source import NotImportable, open_source

    try:
        drafts = formats.drafts_of([open_source(file) for file in files])
    except NotImportable as error:
        raise click.ClickException(f"{error}; nothing was written") from None
    if not drafts:
        raise click.ClickException(f"{files[0]}: names no credentials that can be used here; nothing was written")
    write_drafts(_chosen(drafts, name), envs, secrets=secrets, force=force)


def write_drafts(drafts: Sequence["Draft"], envs: str, *, secrets: "Secrets" = "file", force: bool = False) -> None:
    """Write the files, and tell what is in them and what to do next. Ends the command where that cannot be."""
    from credential_injector.imports.written import NotWritten
    from credential_injector.imports.written import write as write_files

    try:
        files = write_files(drafts, Path(envs).expanduser(), secrets=secrets, force=force)
    except (NotWritten, RuntimeError) as error:  # a RuntimeError where envs names an unknown user
        raise click.ClickException(str(error)) from None
    option = "" if envs == DEFAULT_FOLDER else f" --envs {shlex.quote(envs)}"
    names = " ".join(one.draft.name for one in files)
    told = [line for one in files for line in _told(one, secrets)]
    write("\n".join([*told, "", "Then run:", f"  {program('credential-injector')} check {names}{option}"]))


def _chosen(drafts: "list[Draft]", name: str | None) -> "list[Draft]":
    if name is None:
        return drafts
    if len(drafts) == 1:
        return [replace(drafts[0], name=name)]
    if chosen := [draft for draft in drafts if draft.name == name]:
        return chosen
    raise WrongCall(f"--name: {name} is not among {', '.join(draft.name for draft in drafts)}")


def _told(one: "Written", secrets: "Secrets") -> list[str]:
    from credential_injector.imports.env_text import variables

    lines = [f"{one.path} is written, from {printable(one.draft.source)}"]
    if one.to_fill_in:
        lines.append(f"  fill in {', '.join(one.to_fill_in)}")
    if secrets == "env" and (needed := variables(one.draft)):
        lines.append(f"  set {', '.join(needed)} in the environment of whatever reads it")
    return [*lines, *(f"  left out: {printable(line)}" for line in one.draft.left_out)]

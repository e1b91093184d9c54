"""A draft -> the text of an environment file, whose values are read back exactly as they are. Pure."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Literal

from credential_injector.environments import keys
from credential_injector.environments.env_file import EnvFile
from credential_injector.environments.file_names import printable
from credential_injector.imports.draft import Draft

Secrets = Literal["file", "env"]
"""Where secrets go: into the file, or into variables of the process environment, which the file names."""

WIDTH = 118  # characters of a comment's line


def env_text(draft: Draft, secrets: Secrets = "file", *, to_fill_in: Mapping[str, str] | None = None) -> str:
    """The file's text. `to_fill_in`: keys that it needs and the draft does not have, each with what is expected.

    Raises ValueError, which names a key, where no quoting makes its value come back.
    """
    lines = [*_comment(f"From {draft.source}, by credential-injector.")]
    lines += _comment("credential-injector check says whether it works. docs/configuration.md explains every key.")
    blank = to_fill_in or {}
    for key in sorted({*draft.values, *blank, *draft.notes}, key=_order):
        _check_key(key)
        lines.append("")
        if key in draft.notes:
            lines += _comment(draft.notes[key])
        value = draft.values.get(key, "")
        if key not in draft.values and key not in blank:
            lines.append(f"#{key}=")
            continue
        if not value and key in blank:
            lines += [*_comment(f"To fill in: {blank[key]}"), f"{key}="]
        elif secrets == "env" and value and is_secret(key):
            lines.append(f"{key}=${{{variable(draft.name, key)}}}")
        else:
            lines.append(f"{key}={_quoted(key, value)}")
    if draft.left_out:
        lines += ["", "# What has no equal here:"]
        lines += [line for one in draft.left_out for line in _comment(f"- {one}", "#   ")]
    return "\n".join([*lines, ""])


def variables(draft: Draft) -> dict[str, str]:
    """The variables of the process environment that `secrets="env"` names, and their keys."""
    return {variable(draft.name, key): key for key in draft.values if draft.values[key] and is_secret(key)}


def is_secret(key: str) -> bool:
    """Whether a key's value is a secret."""
    row = keys.row(key)
    return row is not None and row.secret


def variable(name: str, key: str) -> str:
    """The variable for a key of an environment."""
    shown = re.sub(r"[^A-Z0-9]", "_", f"{name}_{key}".upper())
    return f"_{shown}" if shown[0].isdigit() else shown  # no shell sets one that begins with a digit


def _order(key: str) -> tuple[int, str]:
    known = list(keys.KEYS)
    return (known.index(key) if key in known else len(known)), key


def _comment(text: str, indent: str = "# ") -> Iterator[str]:
    """Lines of a comment. What another program wrote must not begin a line of its own."""
    for number, line in enumerate(wrap(printable(text), WIDTH - len(indent), break_on_hyphens=False)):
        yield f"# {line}" if number == 0 else f"{indent}{line}"


def _check_key(key: str) -> None:
    # In TOKEN_PARAM_x_COMMAND, or after a line break, another program's file would choose a command of ours; also in a
    # comment, from which a line break leads out.
    if keys.split_source(key)[1] or keys.row(key) is None or not re.fullmatch(r"[A-Za-z0-9_.-]+", key):
        raise ValueError(f"{printable(key)}: cannot be a key of an environment file; rename the field, or leave it out")


def _quoted(key: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\")
    single, double = escaped.replace("'", "\\'"), escaped.replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    if not re.search("[\ud800-\udfff]", value):  # which JSON can hold, and UTF-8 cannot
        for written in (value, f"'{single}'", f'"{double}"'):
            if _read_back(key, written) == value:
                return written
    raise ValueError(
        f"{key}: cannot be written into an environment file; write it to a file, and name that in {key}_FILE"
    )


def _read_back(key: str, written: str) -> str | None:
    """What the reader of environment files makes of a line between others; None where that is a mistake, or unsure."""
    file = EnvFile(Path("draft.env"), "draft.env")
    # A quote that is not closed would take the next line's.
    text = f"BEFORE='before'\n{key}={written}\nAFTER='after'\n"
    bindings = file.bindings(text, str, lambda name, _: name)
    if file.mistakes or file.warnings or list(bindings) != ["BEFORE", key, "AFTER"]:
        return None
    binding = bindings[key]
    expanded = "${" in written and not written.startswith("'")
    return None if binding.cut or expanded else binding.value

"""Variables -> lines that set them in a shell. Pure."""

import re
import shlex
from collections.abc import Callable, Mapping


def _bash(name: str, value: str | None) -> str:
    return f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}"


def _fish(name: str, value: str | None) -> str:
    if value is None:
        return f"set -e {name}"
    # fish takes PATH and its like as lists, and splits what is quoted at the colons.
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{quoted}'"


def _powershell(name: str, value: str | None) -> str:
    if value is None:
        return f"Remove-Item Env:{name} -ErrorAction SilentlyContinue"
    # To PowerShell, typographic quotes end a text as well.
    quoted = re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", value)
    return f"$Env:{name} = '{quoted}'"


def _dotenv(name: str, value: str | None) -> str:
    if value is None:
        return f"# {name} must not be set"
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{quoted}'"


SHELLS: Mapping[str, Callable[[str, str | None], str]] = {
    "bash": _bash,
    "fish": _fish,
    "powershell": _powershell,
    "dotenv": _dotenv,
}
"""`bash` is any shell that is like the Bourne shell, as zsh."""


def shell_of(environ: Mapping[str, str], *, windows: bool) -> str:
    """The user's."""
    if windows and "SHELL" not in environ:
        return "powershell"
    name = environ.get("SHELL", "").replace("\\", "/").rpartition("/")[2].removesuffix(".exe")
    return {"fish": "fish", "pwsh": "powershell", "powershell": "powershell"}.get(name, "bash")

"""The programs of mitmproxy, and the script that makes them load the add-on."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

_PACKAGE = Path(__file__).resolve().parents[1]

# Installed, the script lies in the package; in a clone, beside it.
SCRIPT = next(path for path in (_PACKAGE / "inject.py", _PACKAGE.parent / "inject.py") if path.is_file())


class NotStarted(Exception):
    """A program is not there, has ended, or did not say what was waited for."""


def program(name: str) -> str:
    """The path of mitmdump or mitmweb, the one beside this Python first. Raises NotStarted."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    path = shutil.which(name, path=places)
    if path is None:
        raise NotStarted(f"{name} is installed neither beside {sys.executable} nor on PATH")
    return path


def become(words: Sequence[str]) -> NoReturn:
    """Run a program in place of this one."""
    if os.name == "posix":
        os.execv(words[0], list(words))
    sys.exit(subprocess.call(words))  # Windows cannot replace a process

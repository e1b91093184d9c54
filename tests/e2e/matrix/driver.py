"""Runs the cases of a file, a few at a time, and writes what each said. Arguments: that file, and the one to write.

It is itself the command of `credential-injector run`. It runs alone, so that it needs nothing but Python.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypedDict

PATIENCE = 90.0  # seconds that a client may take
AT_ONCE = 4


class Case(TypedDict):
    """A command, and what is to be taken out of its environment."""

    name: str
    words: list[str]
    folder: str
    """Where it runs, which is made."""
    without: list[str]
    """Names of variables, and of one folder that is no part of PYTHONPATH."""


def run(case: Case) -> str:
    """What the command wrote, its status last."""
    environ = {name: value for name, value in os.environ.items() if name not in case["without"]}
    kept = [one for one in environ.pop("PYTHONPATH", "").split(os.pathsep) if one and one not in case["without"]]
    if kept:
        environ["PYTHONPATH"] = os.pathsep.join(kept)
    Path(case["folder"]).mkdir(parents=True)
    try:
        done = subprocess.run(
            case["words"],
            cwd=case["folder"],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{error}"
    return f"{done.stderr.decode(errors='replace')}\n{done.stdout.decode(errors='replace')}".strip()


if __name__ == "__main__":
    cases: list[Case] = json.loads(Path(sys.argv[1]).read_text())
    with ThreadPoolExecutor(AT_ONCE) as pool:
        said = dict(zip((case["name"] for case in cases), pool.map(run, cases), strict=True))
    Path(sys.argv[2]).write_text(json.dumps(said))

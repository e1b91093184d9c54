"""All parts on this Python and its mitmproxy: `python -m benchmarks`. Then RESULTS.md of all stacks: `... report`.

ROUNDS=0.5 halves the rounds; PARTS=hook,startup measures only these.
"""

import datetime
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mitmproxy.version import VERSION

from benchmarks import chain, environments, expiry, hook, newman, profiles, startup, throughput
from benchmarks.results import Part

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ROUNDS = float(os.environ.get("ROUNDS", "1"))
STACK = f"python{platform.python_version()}-mitmproxy{VERSION}"
PARTS: dict[str, Callable[[Callable[[str], None]], Part]] = {
    "throughput": lambda progress: throughput.part(progress, ROUNDS),
    "chain": lambda progress: chain.part(progress, ROUNDS),
    "hook": lambda progress: hook.part(progress, ROUNDS),
    "startup": lambda progress: startup.part(progress, ROUNDS),
    "environments": lambda progress: environments.part(progress, ROUNDS),
    "expiry": lambda progress: expiry.part(progress, ROUNDS),
    "newman": lambda progress: newman.part(progress, ROUNDS),
}


def measure() -> None:
    """Every part; its table is printed as soon as it is there."""
    os.umask(0o077)  # env files that others may write are refused
    begun = time.monotonic()
    chosen = [name for name in os.environ.get("PARTS", "").split(",") if name] or list(PARTS)

    def progress(what: str) -> None:
        print(f"[{time.monotonic() - begun:4.0f} s] {STACK}: {what}", file=sys.stderr, flush=True)

    parts = []
    for name in chosen:
        parts.append(PARTS[name](progress))
        print(parts[-1].markdown(), flush=True)
    RESULTS.mkdir(exist_ok=True)
    profiles.write(progress, RESULTS, STACK)
    figures = {
        "stack": STACK,
        "command": _command(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "versions": versions(),
        "seconds": round(time.monotonic() - begun),
        "parts": [
            {"title": part.title, "table": part.markdown(), "figures": [figure.plain() for figure in part.figures]}
            for part in parts
        ],
    }
    # The rounds of a figure in one line.
    text = re.sub(r"\[[-+\d.eE,\s]*\]", lambda numbers: " ".join(numbers[0].split()), json.dumps(figures, indent=1))
    (RESULTS / f"{STACK}.json").write_text(text + "\n")
    progress("done")


def report() -> None:
    """Write RESULTS.md."""
    stacks = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"), reverse=True)]
    text = [
        "# Results",
        "",
        "`make bench` writes this page; [README.md](README.md) says what is measured and how. Every round is in"
        " [results/](results), as JSON, with the profiles.",
    ]
    for stack in stacks:
        text += ["", f"## {stack['stack']}", "", f"`{stack['command']}`, {stack['date']}, {stack['seconds']} s", ""]
        text += [f"{name}: {version}  " for name, version in stack["versions"].items()]
        text += ["", *_goals(stack), ""]
        text += [part["table"] for part in stack["parts"]]
        text += [_profile(stack["stack"])]
    text += ["", (HERE / "ENVOY.md").read_text(), (HERE / "FINDINGS.md").read_text()]
    (HERE / "RESULTS.md").write_text("\n".join(text))


def _goals(stack: dict[str, Any]) -> list[str]:
    figures = [figure for part in stack["parts"] for figure in part["figures"] if figure["goal"]]
    missed = [
        f"- {figure['what']}: {figure['median']:.3g} {figure['unit']}, goal {figure['goal']}, {figure['verdict']}"
        for figure in figures
        if figure["verdict"] != "met"
    ]
    return [
        f"{len(figures) - len(missed)} of {len(figures)} goals are met{'; not these:' if missed else '.'}",
        "",
        *missed,
    ]


def _profile(stack: str) -> str:
    """What of the profile is the add-on's; the rest is in the file."""
    path = RESULTS / f"profile-mitmdump-{stack}.txt"
    ours = path.read_text().partition("\nall, total")[0]
    links = f"[mitmdump](results/{path.name}), [the hook](results/profile-hook-{stack}.txt)"
    return f"### Where the microseconds go\n\nAll of it: {links}\n\n```\n{ours.strip()}\n```"


def _command() -> str:
    settings = [f"{name}={os.environ[name]}" for name in ("ROUNDS", "PARTS") if name in os.environ]
    return " ".join(["make bench", *settings])


def versions() -> dict[str, str]:
    """Of what takes part."""

    def first_line(*command: str) -> str:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return (done.stdout.splitlines() or [""])[0]

    processor = next(
        (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    return {
        "commit": first_line("git", "-C", str(HERE), "describe", "--always", "--dirty"),
        "machine": f"{platform.system()} {platform.release()}, {os.cpu_count()} x {processor}",
        "wrk": first_line("wrk", "-v").partition(" Copyright")[0],
        "nginx": first_line("nginx", "-v"),
        "node": first_line("node", "--version"),
    }


if __name__ == "__main__":
    report() if sys.argv[1:] == ["report"] else measure()

"""Where the microseconds go: the hook's, by cProfile; mitmdump's under load, by py-spy. As text."""

import asyncio
import cProfile
import io
import pstats
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.hook import injector, new_flow
from benchmarks.stage import stage

CALLS = 10_000
SECONDS = 4
CONNECTIONS = 32
SHOWN = 25
_OURS = "credential_injector/"


def write(progress: Callable[[str], None], folder: Path, stack: str) -> None:
    """Write both profiles of this stack into `folder`."""
    progress("profile of the hook")
    (folder / f"profile-hook-{stack}.txt").write_text(asyncio.run(_hook()))
    progress("profile of mitmdump under load")
    (folder / f"profile-mitmdump-{stack}.txt").write_text(_mitmdump())


async def _hook() -> str:
    with injector(1) as addon:
        flows = [new_flow("https://api0.example.com/orders/1") for _ in range(CALLS)]
        if (wait := addon.requestheaders(flows[0])) is not None:
            await wait
        profile = cProfile.Profile()
        with profile:
            for flow in flows:
                addon.requestheaders(flow)
    text = io.StringIO()
    pstats.Stats(profile, stream=text).strip_dirs().sort_stats("cumulative").print_stats(SHOWN)
    said = f"{CALLS} requests with the token at hand. A profiler makes calls dearer than they are: compare shares."
    lines = [line.rstrip() for line in text.getvalue().strip().splitlines()]
    return "\n".join([said, "", *lines, ""])


def _mitmdump() -> str:
    """Shares of samples, as a tree would show them: with what is called (total), and without (self)."""
    with stage() as running:
        proxy = running.proxy("add-on")
        recorded = running.folder / "stacks.txt"
        running.load(proxy, "http reverse", connections=CONNECTIONS, seconds=2)  # the first token has come by then
        options = ["--gil", "--rate", "200", "--format", "raw", "--duration", str(SECONDS), "-o", str(recorded)]
        spy = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("py-spy")),
                "record",
                *options,
                "--pid",
                str(proxy.running.process.pid),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        load = running.load(proxy, "http reverse", connections=CONNECTIONS, seconds=SECONDS)
        if spy.wait() or load is None:
            raise SystemExit("py-spy did not record mitmdump; it needs the right to trace it (root, or ptrace_scope 0)")
        lines = recorded.read_text().splitlines()
    total: Counter[str] = Counter()
    own: Counter[str] = Counter()
    ours = samples = 0
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = [re.sub(r"\S*/(site-packages|addon|lib/python[\d.]+)/|:\d+\)$", "", one) for one in stack.split(";")]
        frames = [one if one.endswith(")") else f"{one})" for one in frames]
        samples += int(count)
        ours += int(count) * any(_OURS in frame for frame in frames)
        own[frames[-1]] += int(count)
        total.update(dict.fromkeys(frames, int(count)))
    request = load.processor
    text = [
        f"mitmdump with the add-on, http in reverse mode, {CONNECTIONS} connections: {load.rps:.0f} requests/s,"
        f" {request:.0f} us of processor time a request, {samples} samples.",
        f"The add-on's: {ours / samples:.1%}, {ours / samples * request:.1f} us.",
    ]
    mine = Counter({frame: count for frame, count in total.items() if _OURS in frame})
    for title, counter in {"the add-on's functions, total": mine, "all, total": total, "all, self": own}.items():
        text += ["", title]
        text += [
            f"  {count / samples:6.1%} {count / samples * request:7.1f} us  {frame}"
            for frame, count in counter.most_common(SHOWN)
        ]
    return "\n".join([*text, ""])

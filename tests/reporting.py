"""What a run of the tests says: a line every few seconds, a failure when it happens, and a summary of a few lines."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import cast

import pytest

SECONDS = 5.0  # between two lines
ATTACK = "attack"
"""The property of a test's report that holds an Attack."""
MEASURED = "measured"
"""The property of a test's report that holds a line for the summary."""
CLIENT = "client"
"""The property of a test's report that holds a Cell."""
Cell = tuple[str, str, str]
"""A row, a column, and what was seen."""
Attack = tuple[str, str, list[str]]
"""A row, a column, and what happened."""


class Reporting:
    """Of the whole run: under pytest-xdist it lives in the process that hands out the tests."""

    def __init__(self, config: pytest.Config) -> None:
        terminal = config.pluginmanager.get_plugin("terminalreporter")
        assert isinstance(terminal, pytest.TerminalReporter)
        self._config, self._terminal = config, terminal
        self._distributed = config.getoption("dist", "no") != "no"
        self._total = 0
        self._outcomes = Counter[str]()
        self._running: dict[str, float] = {}
        self._by_file: dict[str, float] = defaultdict(float)
        self._attacks: list[Attack] = []
        self._clients: list[Cell] = []
        self._measured: list[str] = []
        self._began = self._said = time.monotonic()
        self._ended = threading.Event()

    def pytest_sessionstart(self) -> None:
        self._terminal.showfspath = False
        if self._distributed:
            # A test in this process would have the output for itself; there, lines come between tests.
            threading.Thread(target=self._say_by_time, daemon=True).start()

    def pytest_sessionfinish(self) -> None:
        self._ended.set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._total = len(session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._total = len(ids)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._running[nodeid] = time.monotonic()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._running.pop(nodeid, None)
        self._outcomes["done"] += 1
        if not self._distributed and time.monotonic() - self._said >= SECONDS:
            self._say()

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """No letter for what is well."""
        if not isinstance(report, pytest.TestReport) or self._config.get_verbosity() > 0 or hasattr(report, "wasxfail"):
            return None
        if report.failed:
            return ("failed", "", "FAILED") if report.when == "call" else ("error", "", "ERROR")
        if report.skipped:
            return "skipped", "", "SKIPPED"
        return ("passed" if report.when == "call" else ""), "", ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._by_file[report.nodeid.partition("::")[0]] += report.duration
        if report.when == "call":
            found = (value for name, value in report.user_properties if name == ATTACK)
            self._attacks += cast("Iterator[Attack]", found)
            found = (value for name, value in report.user_properties if name == CLIENT)
            self._clients += cast("Iterator[Cell]", found)
            self._measured += [str(value) for name, value in report.user_properties if name == MEASURED]
        if report.failed:
            self._outcomes["failed"] += 1
            where = "" if report.when == "call" else f" ({report.when})"
            self._terminal.write_line(f"FAILED{where} {report.nodeid}", red=True)

    def _say_by_time(self) -> None:
        while not self._ended.wait(SECONDS):
            self._say()

    def _say(self) -> None:
        self._said = now = time.monotonic()
        words = f"{self._outcomes['done']} of {self._total or '?'} tests in {(now - self._began) / 60:.1f} min"
        if failed := self._outcomes["failed"]:
            words += f", {failed} failed"
        if running := sorted(self._running.copy().items(), key=lambda item: item[1]):
            nodeid, since = running[0]
            words += f"; {now - since:.0f} s in {nodeid.partition('[')[0]}"
        self._terminal.write_line(words)

    def pytest_terminal_summary(self) -> None:
        longest = sorted(self._by_file.items(), key=lambda item: -item[1])
        slowest = ", ".join(f"{file} {seconds:.0f} s" for file, seconds in longest[:5])
        if longest and self._total > 1:
            self._terminal.write_line(f"slowest files: {slowest}")
        for line in self._measured:
            self._terminal.write_line(f"measured: {line}")
        if self._attacks and hasattr(self._config, "cache"):
            file = self._config.cache.mkdir("attacks") / "matrix.txt"
            lines = matrix(self._attacks)
            file.write_text("\n".join([*lines, ""]))
            self._terminal.write_line(f"attacks: {lines[0].partition('.')[0]}; the table is in {file}")
        if self._clients:
            for line in table(self._clients):
                self._terminal.write_line(line)


def table(cells: list[Cell]) -> list[str]:
    """A row for each client, a column for each way."""
    ways = list(dict.fromkeys(way for _, way, _ in cells))
    rows: dict[str, dict[str, str]] = {}
    for row, way, cell in cells:
        rows.setdefault(row, {})[way] = cell
    lines = [["client", *ways], *([row, *(seen.get(way, "") for way in ways)] for row, seen in rows.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def matrix(attacks: list[Attack]) -> list[str]:
    """The attacks: a row for each, a column for each way."""
    from tests.e2e import namespace

    ways = list(dict.fromkeys(way for _, way, _ in attacks))
    rows: dict[str, dict[str, str]] = {}
    for case, way, outcomes in attacks:
        rows.setdefault(case, {})[way] = "".join("x" if outcome == "blocked" else outcome[0] for outcome in outcomes)
    width = max(map(len, rows))
    made_up = namespace.missing()
    transparent = f"the original address is made up ({made_up})" if made_up else "in a network namespace"
    return [
        f"{len(rows)} cases, {len(attacks)} attacks."
        " i: injected, s: skipped and marked, b: bare, x: blocked, r: refused by mitmproxy",
        f"transparent: {transparent}",
        " ".join([" " * width, *(f"{way.split()[-1][:5]:5}" for way in ways)]),
        *(" ".join([f"{case:{width}}", *(f"{cell.get(way, ''):5}" for way in ways)]) for case, cell in rows.items()),
    ]

"""Ports for programs that cannot choose one themselves."""

import itertools
import os

from credential_injector.demo.processes import is_free

SPAN = 2000  # ports of each process of pytest-xdist
# Below 32768: from there on Linux takes a port for whatever connects, at any moment.
_first = 12000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 10 * SPAN
_turns = itertools.count(os.getpid() * 7)


def free_port() -> int:
    """A loopback port that nobody listens on, and that no other test is given."""
    return next(port for turn in _turns if is_free(port := _first + turn % SPAN))

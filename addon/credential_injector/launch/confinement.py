"""Who may use a command's own proxy: the command's processes, or whoever knows a password."""

import ctypes
import os
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

CAN_FOLLOW = sys.platform.startswith("linux")
"""Whether the add-on can find out which process a connection is of."""

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Confinement(NamedTuple):
    """The options of mitmproxy by which it lets in one command only."""

    settings: Mapping[str, str] = {}
    secret: Mapping[str, str] = {}
    """Those that nobody may see."""
    login: str = ""
    """What a client must say, as a URL has it."""


def confinement(*, by_password: bool) -> Confinement:
    """Let in this process and what descends from it; where nobody can tell, or `by_password`, who knows a password."""
    if CAN_FOLLOW and not by_password:
        _keep_descendants()
        return Confinement({"inject_clients": f"process:{os.getpid()}"}, {})
    login = f"run:{secrets.token_urlsafe(24)}"
    return Confinement({"inject_clients": ""}, {"proxyauth": login}, f"{login}@")


def _keep_descendants() -> None:
    """Become the parent of those whose own parent ends, so that they still descend from this process."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

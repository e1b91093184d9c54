"""A warm mitmproxy behaves as the program does, which the other tests rely on."""

import signal
import socket
import subprocess
from collections.abc import Sequence

import pytest

from credential_injector.launch.programs import program
from tests.e2e.conftest import Stage
from tests.e2e.test_life_cycle import eventually


def test_exit_code(inside: Sequence[str]) -> None:
    """It ends with the program's exit code and output."""
    command = [*inside, program("mitmdump"), "--set", "no_such_option=1", "--mode", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "nonsense" in done.stderr


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signal(stage: Stage, end: signal.Signals) -> None:
    """A signal ends both it and the program, which listens no more."""
    proxy = stage.mitmdump()
    port = int(proxy.url.rpartition(":")[2])
    proxy.process.send_signal(end)
    assert proxy.process.wait(30) == (-end if end == signal.SIGKILL else 0)

    def listens() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    eventually(lambda: not listens())  # it may outlive a kill by a moment

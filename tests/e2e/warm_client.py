"""`warm_client.py SOCKET mitmdump …` behaves as the program would, which warm.py forks for it.

Same folder, environment and output; it passes signals on, and ends as the program ends.
Whatever it imports is paid for by every test, so it imports little.
"""

import os
import signal
import socket
import sys
from contextlib import suppress

LENGTH = 8  # bytes that tell how many follow

path, *words = sys.argv[1:]
settings = [f"{name}={value}" for name, value in os.environ.items()]
message = os.fsencode("\0".join([os.getcwd(), str(len(words)), *words, *settings]))  # noqa: PTH109 - no pathlib
server = socket.socket(socket.AF_UNIX)
server.connect(path)
socket.send_fds(server, [len(message).to_bytes(LENGTH)], [0, 1, 2])
server.sendall(message)
pid = int(server.recv(LENGTH))


def pass_on(number: int, _: object) -> None:
    with suppress(ProcessLookupError):  # it has ended, and its status is on the way
        os.kill(pid, number)


for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, pass_on)
code = os.waitstatus_to_exitcode(int(server.recv(LENGTH) or signal.SIGTERM))  # nothing: warm.py has ended
if code < 0:
    os.kill(os.getpid(), signal.SIGKILL)
os._exit(code)

"""mitmdump with the add-on, and a command that is led to it: by variables, or with --isolate first by namespaces.

It stands in for `credential-injector run` as long as that is not there. The other words are the command's.
"""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from urllib.parse import urlsplit

from credential_injector.demo.processes import mitmproxy
from credential_injector.launch.files import write_files
from credential_injector.launch.isolation import isolated
from credential_injector.launch.variables import variables
from credential_injector.origins.origin import parse_origin

CA = Path.home() / ".mitmproxy" / "mitmproxy-ca-cert.pem"


def main(words: list[str]) -> int:
    with mitmproxy("mitmdump", folder=Path.cwd()) as proxy, tempfile.TemporaryDirectory() as folder:
        url = proxy.url
        # At its first start mitmproxy listens before it has made its certificate.
        while not CA.with_name("mitmproxy-dhparam.pem").exists() and proxy.process.poll() is None:
            threading.Event().wait(0.02)
        files = write_files(Path(folder), CA)
        if words[0] != "--isolate":
            return subprocess.run(words, env=_environment(variables(url, files)), check=False).returncode
        [hosts] = [line for line in Path("envs/qa.env").read_text().splitlines() if line.startswith("HOST=")]
        origins = [parse_origin(one) for one in hosts.removeprefix("HOST=").split(",")]
        address = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
        with isolated(address, None, origins, files) as prefix:
            command = [*prefix.words, *words[1:]]
            environ = _environment(variables(None, files))
            return subprocess.run(command, env=environ, pass_fds=prefix.pass_fds, check=False).returncode


def _environment(given: dict[str, str | None]) -> dict[str, str]:
    merged = {**os.environ, **given}
    return {name: value for name, value in merged.items() if value is not None}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

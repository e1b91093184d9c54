"""mitmdump with the add-on, and a command with what `credential-injector env` prints. Its words are the command's."""

import subprocess
import sys
import threading
from pathlib import Path

from credential_injector.demo.processes import mitmproxy

CA = Path.home() / ".mitmproxy" / "mitmproxy-ca-cert.pem"


def main(words: list[str]) -> int:
    with mitmproxy("mitmdump", folder=Path.cwd()) as proxy:
        env = [sys.executable, "-m", "credential_injector.cli", "env", "--shell=bash", f"--proxy={proxy.url}"]
        # At its first start mitmproxy listens before it has made its certificate.
        while not CA.with_name("mitmproxy-dhparam.pem").exists():
            threading.Event().wait(0.02)
        printed = subprocess.run(env, capture_output=True, text=True, check=True).stdout
        return subprocess.run(["sh", "-c", f'{printed}\nexec "$@"', "sh", *words], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

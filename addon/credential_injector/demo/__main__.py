"""`python -m credential_injector.demo` shows the add-on at work in the terminal; with `web` behind it, in mitmweb."""

import argparse
import signal
import sys

import requests

from credential_injector.demo.stage import DemoFailure
from credential_injector.demo.terminal import run_in_terminal
from credential_injector.demo.web import run_in_mitmweb
from credential_injector.launch.programs import NotStarted


def main() -> int:
    """0 where everything was as it should be."""
    parser = argparse.ArgumentParser(prog="python -m credential_injector.demo", description=__doc__)
    parser.add_argument("where", nargs="?", choices=["terminal", "web"], default="terminal")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended, too
    try:
        run_in_mitmweb() if arguments.where == "web" else run_in_terminal()
    except (DemoFailure, NotStarted, requests.RequestException) as failure:
        notes = getattr(failure, "__notes__", [])
        print("\n".join([f"\nThe demonstration failed: {failure}", *notes]), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What mitmproxy loads: `mitmdump -s addon/inject.py`, in a clone and from site-packages."""

import importlib.util
import logging
import re
import sys
from pathlib import Path

from mitmproxy.version import VERSION

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE if (_HERE / "credential_injector").is_dir() else _HERE.parent

# mitmproxy leaves the script's folder first on sys.path for good, where its files could shadow anybody's modules.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]
if _ROOT == _HERE or str(_ROOT) not in sys.path:
    sys.path.insert(0, str(_ROOT))
# When this file changes, mitmproxy loads it anew, but not what it imports.
for _name in [name for name in sys.modules if name.partition(".")[0] == "credential_injector"]:
    del sys.modules[_name]

_OLDEST = (11, 0, 2)  # of which mitmproxy's behaviour is known
_NEEDED = {
    "requests": "requests",
    "authlib": "Authlib",
    "dotenv": "python-dotenv",
    "filelock": "filelock",
    "idna": "idna",
    "watchfiles": "watchfiles",
}
_missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]

addons = []
if sys.version_info < (3, 11):  # noqa: UP036 - whichever Python mitmproxy happens to run on
    logging.error(f"The credential injector needs Python 3.11 or newer, mitmproxy runs on {sys.version.split()[0]}")
elif tuple(map(int, re.findall(r"\d+", VERSION)[:3])) < _OLDEST:
    logging.error(
        f"The credential injector needs mitmproxy {'.'.join(map(str, _OLDEST))} or newer, and this is {VERSION};"
        f" run: {sys.executable} -m pip install --upgrade mitmproxy"
    )
elif _missing:
    _how = (
        "the standalone mitmproxy binaries cannot load it, so install mitmproxy from PyPI: pipx install mitmproxy &&"
        f" pipx inject mitmproxy {' '.join(_missing)}"
        if getattr(sys, "frozen", False)
        else f"run: {sys.executable} -m pip install mitmproxy {' '.join(_missing)}"
    )
    logging.error(
        f"The credential injector needs {', '.join(_missing)}, which mitmproxy's Python does not have; {_how}"
    )
else:
    from credential_injector.proxy.addon import CredentialInjector

    addons = [CredentialInjector()]

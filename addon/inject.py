"""What mitmproxy loads: `mitmdump -s addon/inject.py`, in a clone and from site-packages. Nobody can import it."""

import importlib.util
import logging
import re
import sys
from pathlib import Path

from mitmproxy.version import VERSION

# Whoever says `import inject` means another module, and must not disturb the add-on that runs. HACK: mitmproxy names a
# script's module __mitmproxy_script__.inject, read in 11.0.2 and 12.3.1.
if __name__.endswith("inject") and not __name__.startswith("__mitmproxy_script__."):
    raise ModuleNotFoundError(
        f"No module named {__name__!r}: {__file__} is a script for mitmproxy's option -s, which nobody can import; if"
        " you want a library of that name, install it",
        name=__name__,
    )

_HERE = Path(__file__).resolve().parent
_PACKAGE = _HERE / "credential_injector" if (_HERE / "credential_injector").is_dir() else _HERE  # in a clone; installed

# mitmproxy leaves the script's folder first on sys.path for good, where its files shadow anybody's modules.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]


def _load_package() -> None:
    """Load this script's own package, whichever copy of it sys.path would lead to.

    When this file changes, mitmproxy loads it anew, but not what it imports. Modules that are imported later are found
    by way of the package.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == "credential_injector"]:
        del sys.modules[name]
    spec = importlib.util.spec_from_file_location(
        "credential_injector", _PACKAGE / "__init__.py", submodule_search_locations=[str(_PACKAGE)]
    )
    if spec is None or spec.loader is None:  # never for a name that ends in .py
        raise ImportError(f"{_PACKAGE} cannot be loaded")
    sys.modules["credential_injector"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


_OLDEST = (11, 0, 2)  # of which mitmproxy's behaviour is known
_NEEDED = {
    "requests": "requests",
    "authlib": "Authlib",
    "dotenv": "python-dotenv",
    "filelock": "filelock",
    "idna": "idna",
    "watchfiles": "watchfiles",
    "segno": "segno",
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
    _load_package()
    from credential_injector.proxy.addon import CredentialInjector

    addons = [CredentialInjector()]

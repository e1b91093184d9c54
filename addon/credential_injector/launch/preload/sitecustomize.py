"""Leads aiohttp and urllib3 through the proxy of the environment, in any Python program.

It runs in somebody's process, before his program and whatever his Python is: it imports little, and changes the two
modules only when the program imports them.
"""

import os
import sys
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any


def _aiohttp(module: Any) -> None:
    """Let sessions use the environment's proxy, unless the program says otherwise."""
    plain = module.ClientSession.__init__

    def init(self: Any, *given: Any, **named: Any) -> None:
        named.setdefault("trust_env", True)
        plain(self, *given, **named)

    module.ClientSession.__init__ = init


def _urllib3(module: Any) -> None:
    """Let the requests of a PoolManager pass a ProxyManager. requests, which knows proxies, does not call it."""
    plain = module.PoolManager.urlopen

    def urlopen(self: Any, *given: Any, **named: Any) -> Any:
        proxy = os.environ.get("https_proxy", "")
        if type(self) is not module.PoolManager or not proxy.startswith("http"):
            return plain(self, *given, **named)
        if "_through_proxy" not in vars(self):
            login = module.parse_url(proxy).auth
            headers = sys.modules["urllib3"].make_headers(proxy_basic_auth=_unquoted(login)) if login else None
            self._through_proxy = module.ProxyManager(
                proxy, headers=self.headers, proxy_headers=headers, **self.connection_pool_kw
            )
        return self._through_proxy.urlopen(*given, **named)

    module.PoolManager.urlopen = urlopen


def _unquoted(login: str) -> str:
    from urllib.parse import unquote  # here, as it takes a while; urllib3 has imported it

    return unquote(login)


_CHANGES = {"aiohttp.client": _aiohttp, "urllib3.poolmanager": _urllib3}


class _Finder:
    """Changes a module when it has been executed."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:  # noqa: ARG004 - the protocol's
        change = _CHANGES.get(name)
        spec = PathFinder.find_spec(name, path) if change is not None else None
        if change is None or spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            # Another release, or another module of this name, may look different.
            try:  # noqa: SIM105 - contextlib takes a while to import
                change(module)
            except AttributeError:
                pass

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _run_own() -> None:
    """Run the sitecustomize that this one hides."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib takes a while to import
    others = [one for one in sys.path if os.path.abspath(one) != here]  # noqa: PTH100
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        module = type(sys)("sitecustomize")
        module.__spec__, module.__file__ = spec, spec.origin
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if __name__ == "sitecustomize":
    sys.meta_path.insert(0, _Finder)
    _run_own()

"""Nothing is slower by accident. No stopwatch: what happens while a token is at hand is watched and counted.

The add-on and the flows are those that `make bench` measures.
"""

import asyncio
import gc
import subprocess
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import pytest
from mitmproxy import ctx
from mitmproxy.addonmanager import traverse

from benchmarks.hook import injector, new_flow, write_environments
from credential_injector.environments.environment import Environment
from credential_injector.environments.folder import Folder, open_folder
from credential_injector.launch.programs import SCRIPT
from credential_injector.oauth.token import NoToken
from credential_injector.origins.index import Destinations
from credential_injector.origins.origin import parse_origin
from credential_injector.proxy import web_guard
from credential_injector.proxy.routes import Routes
from credential_injector.tokens.provider import Provider
from credential_injector.tokens.source import TokenSource
from tests.oauth.test_jwt_claims import jwt
from tests.tokens.test_source import Clock, TokenEndpoint, settle, source

MANY = 1000


class Steps:
    """What a call does: the lines that it runs, the functions of Python and of C that it calls, by module and name."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.lines = 0
        self.calls: Counter[tuple[str, str]] = Counter()
        tracing, profiling = sys.gettrace(), sys.getprofile()  # coverage is one
        sys.settrace(self._line)
        sys.setprofile(self._call)
        try:
            self.result = call()
        finally:
            sys.setprofile(profiling)
            sys.settrace(tracing)
        del self.calls["sys", "setprofile"]

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        self.lines += event == "line"
        return self._line

    def _call(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            self.calls[frame.f_globals.get("__name__", ""), frame.f_code.co_name] += 1
        elif event == "c_call":
            module = getattr(arg, "__module__", None) or type(arg.__self__).__module__
            self.calls[module, arg.__name__] += 1

    def of(self, *modules: str) -> list[str]:
        """The calls of functions of these modules."""
        return [name for module, name in self.calls.elements() if module.split(".")[0] in modules]


async def steps(url: str, environments: int = 1, headers: Mapping[str, str] = {}) -> Steps:
    """What the hook does with a request, its token being at hand. `{}` in the URL is the last environment's number."""
    url = url.format(environments - 1)
    with injector(environments) as addon:
        flows = [new_flow(url) for _ in range(3)]
        for flow in flows:
            flow.request.headers.update(headers)
        for flow in flows[:2]:  # the first waits for the token, and the second fills what is kept for the next ones
            if (wait := addon.requestheaders(flow)) is not None:
                await wait
        return Steps(lambda: addon.requestheaders(flows[2]))


NAMED, UNNAMED = "https://api{}.example.com/orders/1", "https://www.example.org/"


@pytest.fixture(params=[NAMED, UNNAMED], ids=["named", "unnamed"])
async def cached(request: pytest.FixtureRequest) -> Steps:
    return await steps(request.param)


def test_no_await(cached: Steps) -> None:
    """Nothing is awaited, and no task is made."""
    assert cached.result is None
    assert cached.of("asyncio", "_asyncio") == []


def test_no_log(cached: Steps) -> None:
    """Not even one that a level would drop: asking for the level costs, too."""
    assert cached.of("logging") == []


def test_no_io(cached: Steps) -> None:
    """Neither disk nor network is used, and nothing is imported."""
    assert (
        cached.of("posix", "nt", "os", "io", "_io", "pathlib", "socket", "_socket", "importlib", "builtins.open") == []
    )


@pytest.mark.parametrize("headers", [{}, {"Authorization": f"Bearer {jwt(sub='me')}"}], ids=["none", "a JWT"])
async def test_claims(headers: dict[str, str]) -> None:
    """No token's claims are read that were read before: neither ours, nor what the client sends again and again."""
    calls = (await steps(NAMED, headers=headers)).calls
    assert [called for called in calls if called[0].partition(".")[0] in ("json", "base64", "binascii")] == []
    assert {name for module, name in calls if module.endswith("jwt_claims")}.isdisjoint(("read", "payload"))


async def test_clock() -> None:
    """The clock is read once."""
    assert (await steps(NAMED)).of("time", "datetime") == ["time"]


@pytest.mark.parametrize("url", [NAMED, UNNAMED])
async def test_steps(url: str) -> None:
    """A request takes as many steps with 1000 environments as with one."""
    one, many = await steps(url), await steps(url, MANY)
    assert many.lines == one.lines
    assert many.calls == one.calls


@pytest.mark.parametrize(
    "origin", ["https://api{}.example.com", "https://*.q{}.example.com", "https://example.com/v{}"]
)
@pytest.mark.parametrize("path", ["/", "/v1999/orders"])
def test_lookup_steps(origin: str, path: str) -> None:
    """A look-up takes as many steps among 1000 origins as with one."""

    def find(count: int) -> Steps:
        origins = [parse_origin(origin.format(2000 - number)) for number in range(count, 0, -1)]
        destinations = Destinations((origin, origin.path) for origin in origins)
        host = origins[-1].host
        return Steps(lambda: destinations.find("https", f"a.{host}" if "*" in origin else host, 443, path))

    one, many = find(1), find(MANY)
    assert (many.lines, many.calls, many.result) == (one.lines, one.calls, one.result)


@pytest.mark.parametrize("pause", [3570, 3600], ids=["renewed ahead", "expired"])
async def test_tasks(pause: float) -> None:
    """100 expiries leave no task behind."""
    endpoint, clock = TokenEndpoint(lifetime=3600), Clock()
    tokens = source(endpoint, clock)
    for _ in range(100):
        await tokens.token()
        await settle()
        clock.now += pause
    assert endpoint.requests == 100
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_one_add_on() -> None:
    """mitmproxy has no more add-ons to visit than the one in the script."""
    with injector(1) as addon:
        before = list(traverse(ctx.master.addons.chain))  # type: ignore[no-untyped-call]
        addon.running()
        try:
            assert list(traverse(ctx.master.addons.chain)) == before  # type: ignore[no-untyped-call]
            assert hasattr(addon, "addons") == web_guard.is_needed()
        finally:
            addon.done()


async def test_frozen(tmp_path: Path) -> None:
    """No garbage is looked for in what was there at the start."""
    routes = loaded(tmp_path)
    looked_through = {id(thing) for thing in gc.get_objects()}
    assert len(routes.names()) == 3
    assert looked_through.isdisjoint(id(routes.named(name)) for name in routes.names())


async def test_replaced(tmp_path: Path) -> None:
    """An environment that is replaced goes at once, and not only when garbage is looked for."""

    async def unreachable(*_: object) -> Any:
        raise NoToken("unreachable", "nobody answers")

    routes = loaded(tmp_path, into=Routes(Provider(open_endpoint=unreachable)))
    source = _source(routes, "api0")
    with suppress(NoToken):
        await source.token()
    await settle()
    gone = weakref.ref(source)
    del source
    routes.watch()  # mitmproxy has started
    gc.disable()
    try:
        loaded(tmp_path, "AUDIENCE=another", into=routes)
        assert gone() is None
    finally:
        gc.enable()
        routes.close()


async def test_loaded_anew(tmp_path: Path) -> None:
    """A script that is loaded anew leaves nothing behind."""
    routes = loaded(tmp_path)
    routes.close()
    gone = weakref.ref(routes)
    del routes
    loaded(tmp_path)
    assert gone() is None


def _source(routes: Routes, name: str) -> TokenSource:
    route = routes.named(name)
    assert route is not None
    return route.source


def loaded(folder: Path, *lines: str, into: Routes | None = None) -> Routes:
    """Three environments, as mitmproxy's start takes them into use."""
    write_environments(folder, 3, *lines)
    routes = into if into is not None else Routes()
    routes.load(open_folder(str(folder), []), None)
    return routes


async def change_of_one(folder: Path, environments: int) -> tuple[int, int]:
    """What a change of one of so many files costs: our lines that run on the event loop, and how many environments are
    compared on any thread.
    """
    lines = compared = 0

    def line(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal lines
        lines += event == "line" and frame.f_globals.get("__name__", "").startswith("credential_injector")
        return line

    def equal(one: Environment, other: object) -> bool:
        nonlocal compared
        compared += 1
        return isinstance(other, Environment) and astuple(one) == astuple(other)

    write_environments(folder, environments)
    routes = Routes()
    routes.load(Folder(folder), None)
    changed = folder / f"api{environments - 1}.env"
    changed.write_text(changed.read_text() + "METHODS=GET\n")
    tracing = sys.gettrace()
    with patch.object(Environment, "__eq__", equal):
        sys.settrace(line)  # of this thread
        try:
            await routes.read_again()
        finally:
            sys.settrace(tracing)
    found = [route for name in routes.names() if (route := routes.named(name)) is not None]
    assert [route.environment.name for route in found if route.environment.methods] == [changed.stem]
    return lines, compared


async def test_change_among_1000(tmp_path: Path) -> None:
    """A changed file among 1000 halts requests as little as the only one: a thread reads it."""
    for count in (1, MANY):
        (tmp_path / str(count)).mkdir()
    one, many = [await change_of_one(tmp_path / str(count), count) for count in (1, MANY)]
    assert many == one
    assert one[1] <= 3


async def test_unchanged_routes(tmp_path: Path) -> None:
    """The routes of unchanged files stay."""
    routes = loaded(tmp_path)
    before = [routes.named(name) for name in routes.names()]
    (tmp_path / "api2.env").write_text((tmp_path / "api2.env").read_text() + "METHODS=GET\n")
    await routes.read_again()
    assert [routes.named(name) is route for name, route in zip(routes.names(), before, strict=True)] == [
        True,
        True,
        False,
    ]


def test_imports() -> None:
    """Nor what else is only wanted later: with the first token, by the watch of the files, by a store."""
    load = "runpy.run_path(sys.argv[1], run_name='__mitmproxy_script__.inject')"
    code = f"import runpy, sys; {load}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code, str(SCRIPT)], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "credential_injector" in loaded
    assert loaded.isdisjoint({"authlib", "filelock", "redis", "requests", "urllib3", "watchfiles"})

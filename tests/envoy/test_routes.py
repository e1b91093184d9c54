"""What becomes of a request is compared with mitmproxy's in tests/e2e; here is what makes the routes."""

import re
from pathlib import Path
from typing import Any

import pytest

from credential_injector.envoy import patterns, routes
from credential_injector.envoy.routes import ANYWHERE, Way
from credential_injector.envoy.sites import Site, sites
from tests.envoy.made import environment, words


def made(site: Site) -> list[Any]:
    return routes.of(site, Way(site.name))


def kinds(site: Site) -> list[str]:
    """What each of the routes does: the name of the environment that is injected, `blocked` or `on`."""
    return [one.get("name") or ("blocked" if "direct_response" in one else "on") for one in made(site)]


def injected(site: Site) -> list[Any]:
    return [one for one in made(site) if "typed_per_filter_config" in one]


def test_simple(tmp_path: Path) -> None:
    """Whatever comes last, without any condition, is injected; and below it is what the client sent."""
    (site,) = sites([environment(tmp_path)])
    assert kinds(site)[-2:] == ["qa", "on"]
    (one,) = injected(site)
    assert one["match"] == {"prefix": "/"}
    assert one["route"]["cluster"] == "https://api.qa.example.com"


def test_refused(tmp_path: Path) -> None:
    """What Envoy cannot serve is blocked with the reason, and never injected."""
    (site,) = sites([environment(tmp_path, "QUERY=api_key\n")])
    assert injected(site) == []
    assert kinds(site) == ["blocked", "on"]
    assert "QUERY" in words(made(site)[0])


@pytest.mark.parametrize(
    ("lines", "headers"),
    [
        ("OVERWRITE=never\n", {"name": "authorization", "present_match": True}),
        ("OVERWRITE=only\n", {"name": "authorization", "present_match": True, "invert_match": True}),
    ],
)
def test_overwrite(tmp_path: Path, lines: str, headers: dict[str, object]) -> None:
    """A client's own credential is kept, or nothing is added, by a route before the one that injects."""
    (site,) = sites([environment(tmp_path, lines)])
    before = made(site)[kinds(site).index("qa") - 1]
    assert before["match"]["headers"] == [headers]
    assert "typed_per_filter_config" not in before


def test_methods(tmp_path: Path) -> None:
    """Only methods that METHODS names are injected, a path's below it only; all others are blocked."""
    (site,) = sites([environment(tmp_path, "METHODS=GET, POST /search\n")])
    ambiguous, anywhere, below = injected(site)
    assert "GET" in words(ambiguous["match"])
    assert "GET" in words(anywhere["match"])
    assert "/search" in words(below["match"])
    assert "POST" in words(below["match"])
    assert kinds(site)[-2:] == ["blocked", "on"]
    assert "METHODS=" in words(made(site)[-2])


def test_production(tmp_path: Path) -> None:
    """No write goes on to production, not even where the request would get no token."""
    (site,) = sites([environment(tmp_path, "PRODUCTION=true\n")])
    on = [one for one in made(site)[:-1] if "direct_response" not in one and "typed_per_filter_config" not in one]
    assert all(":method" in words(one["match"]) for one in on if "sec-fetch-site" in words(one["match"]))
    assert any("direct_response" in one for one in routes.elsewhere(site, Way(site.name)))


def test_confirm(tmp_path: Path) -> None:
    """What a person would have to agree to is blocked."""
    (site,) = sites([environment(tmp_path, "CONFIRM=DELETE\n")])
    held, *asked = [one for one in made(site) if "CONFIRM" in words(one)]
    assert "DELETE" in words(held["match"])
    assert all("direct_response" in one for one in (held, *asked))
    assert any("x-http-method-override" in words(one["match"]) for one in asked)


def test_as(tmp_path: Path) -> None:
    """Of several files the header chooses; a name of none is blocked, also where there is a default."""
    admin = environment(tmp_path, "AS=admin\nDEFAULT=true\n", name="admin")
    user = environment(tmp_path, "AS=user\n", name="user")
    (site,) = sites([admin, user])
    assert [one["name"] for one in injected(site)] == ["admin", "user", "admin"]
    named, other, default = injected(site)
    assert '"exact": "admin"' in words(named["match"])
    assert '"exact": "user"' in words(other["match"])
    assert "x-inject-as" not in words(default["match"])
    wrong = kinds(site).index("blocked")
    assert wrong < made(site).index(default)
    assert all("x-inject-as" in one["request_headers_to_remove"] for one in injected(site))


def test_nobody(tmp_path: Path) -> None:
    """Without a default, a request that names nobody is blocked."""
    (site,) = sites([environment(tmp_path, f"AS={name}\n", name=name) for name in ("admin", "user")])
    assert kinds(site)[-2:] == ["blocked", "on"]
    assert "admin or user" in words(made(site)[-2])


def test_paths(tmp_path: Path) -> None:
    """A path that servers may read in different ways is below no prefix, and comes first."""
    (site,) = sites([environment(tmp_path, host="https://gw.example.com/orders")])
    first, *_ = made(site)
    assert "safe_regex" in first["match"]
    assert "typed_per_filter_config" not in first
    (one,) = injected(site)
    assert one["match"]["safe_regex"]["regex"] == "/orders(/.*)?"


@pytest.mark.parametrize(
    ("start", "prefix", "expected"),
    [
        ("", "/a", "/a"),
        ("/a", "", "/a"),
        ("/a", "/a", "/a"),
        ("/a", "/a/b", "/a/b"),
        ("/a/b", "/a", "/a/b"),
        ("/a", "/b", None),
        ("/a", "/ab", None),
    ],
)
def test_below(start: str, prefix: str, expected: str | None) -> None:
    """A path is below both prefixes, or below none."""
    where = ANYWHERE.below(start) if start else ANYWHERE
    assert where is not None
    found = where.below(prefix)
    assert (found.prefix if found is not None else None) == expected


def test_token_endpoint(tmp_path: Path) -> None:
    """A token endpoint at the same server gets no token."""
    (site,) = sites([environment(tmp_path, host="https://login.qa.example.com")])
    (site_without,) = sites([environment(tmp_path, name="other")])
    assert len(made(site)) > len(made(site_without))
    expression = patterns.spelt("/token")
    python = expression.replace(r"\C", r"[\s\S]")  # a byte of any kind
    assert any(expression == one["match"].get("safe_regex", {}).get("regex") for one in made(site))
    for spelling in ("/token", "//token/", "/TOKEN", "/%74oken", "/./token"):
        assert re.fullmatch(python, spelling), spelling
    assert not re.fullmatch(python, "/tokens")

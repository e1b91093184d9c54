"""What is written for Envoy is taken by Envoy."""

import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from credential_injector.environments.environment import Environment
from credential_injector.environments.folder import Folder
from credential_injector.envoy import configuration
from credential_injector.envoy.bootstrap import leaf, resources
from credential_injector.envoy.configuration import Wanted
from credential_injector.envoy.feeder import Feeder
from credential_injector.envoy.files import Files
from credential_injector.envoy.listeners import LEAF, Address, Reverse, networks
from credential_injector.envoy.sites import Site
from credential_injector.launch.envoy import Envoy, find
from credential_injector.oauth.token import AccessToken
from credential_injector.origins.clients import parse_networks
from credential_injector.proxy.leaf import Authority
from credential_injector.tokens.source import TokenSource
from tests.certificates import Authority as Root
from tests.environments import test_providers
from tests.environments.files import WHOLE
from tests.envoy.made import content, ready

EXAMPLE = (Path(__file__).parents[2] / "envs" / "dev.env.example").read_text(encoding="utf-8")
EXAMPLES = dict(test_providers.FILES)
EXAMPLES["dev.env.example"] = re.sub("^(CLIENT_(?:ID|SECRET)=)$", r"\1abc", EXAMPLE, flags=re.MULTILINE)
# What no provider's file holds, but what makes other configuration.
EXAMPLES["odd"] = (
    "HOST=https://*.a.example.com:8443, https://b.example.com/a(b, http://127.0.0.1:9000, https://[2001:db8::1]\n"
    "TOKEN_ENDPOINT=https://login.example.com/token\nCLIENT_ID=abc\nCLIENT_SECRET=canary\n"
    "HEADER_X-Tenant=acme\nMETHODS=GET, POST /search\nCONFIRM=DELETE\nPRODUCTION=true\nOVERWRITE=only\n"
    "WITHOUT_TOKEN=pass\nORIGINS=http://localhost:3000, null\nAS=admin, me@example.com\nDEFAULT=true\n"
)

# What examples name: files, and programs that print a secret.
key_and_certificate, beside = test_providers.key_and_certificate, test_providers.folder


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("mitmproxy"))


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    """Those of an Envoy's folder."""
    made = Files(tmp_path / "envoy")
    made.make()
    pipe = os.open(made.paths.refusals, os.O_RDWR)  # Envoy waits until somebody listens
    yield made
    os.close(pipe)


async def no_token(asked_at: float, replaces: str | None) -> AccessToken:
    raise NotImplementedError


def written(environments: Sequence[Environment], files: Files, authority: Authority, *reverses: Reverse) -> None:
    """Write what Envoy reads."""

    def certificate(site: Site) -> str:
        path = files.paths.certificate(len(list(files.folder.glob("leaf-*"))))
        pair = authority.leaf(site.host.strip("[]"), is_address=site.is_address)
        files.write(path, resources([leaf(LEAF, *pair)]))
        return path

    files.write(files.paths.trusted(""), Root().certificate)
    wanted = Wanted(Address("127.0.0.1", 0), reverses, tuple(networks(parse_networks("loopback"))))
    built = configuration.build(environments, wanted, files.paths, certificate)
    if built.missing:
        raise ValueError(*built.missing)
    for one in environments:
        Feeder(one, TokenSource(no_token), files, lambda: None).withhold("no token yet")
    files.write(files.paths.of("envoy.yaml"), configuration.start((), 0, files.paths))
    for path, message in built.files.items():
        files.write(path, message)


def whole(files: Files) -> str:
    """Envoy's configuration without the files it names, as `--mode validate` does not look into those."""
    text = Path(files.paths.of("envoy.yaml")).read_text("utf-8")
    bootstrap = json.loads(re.sub("^#.*$", "", text, flags=re.MULTILINE))
    named = bootstrap.pop("dynamic_resources")
    clusters, listeners = (
        [inside(untyped(one)) for one in content(named[kind]["path_config_source"]["path"])["resources"]]
        for kind in ("cds_config", "lds_config")
    )
    return json.dumps({**bootstrap, "static_resources": {"clusters": clusters, "listeners": listeners}})


def untyped(message: dict[str, Any]) -> dict[str, Any]:
    """A message where its type is known."""
    return {name: one for name, one in message.items() if name != "@type"}


def inside(message: Any) -> Any:
    """A message, with routes, filters and certificates in the place of the files that hold them."""
    if isinstance(message, list):
        return [inside(one) for one in message]
    if not isinstance(message, dict):
        return message
    if "rds" in message:
        (routing,) = content(message["rds"]["config_source"]["path_config_source"]["path"])["resources"]
        return inside(
            {**{name: one for name, one in message.items() if name != "rds"}, "route_config": untyped(routing)}
        )
    if "config_discovery" in message:
        (found,) = content(message["config_discovery"]["config_source"]["path_config_source"]["path"])["resources"]
        rest = {name: one for name, one in message.items() if name != "config_discovery"}
        return inside({**rest, "typed_config": found["typed_config"]})
    if "tls_certificate_sds_secret_configs" in message:
        (named,) = message["tls_certificate_sds_secret_configs"]
        (found,) = content(named["sds_config"]["path_config_source"]["path"])["resources"]
        rest = {name: one for name, one in message.items() if name != "tls_certificate_sds_secret_configs"}
        return inside({**rest, "tls_certificates": [found["tls_certificate"]]})
    return {name: inside(one) for name, one in message.items()}


def validated(configuration: str, folder: Path) -> tuple[int, str]:
    """What Envoy says about it."""
    file = folder / "whole.json"
    file.write_text(configuration)
    words = [find(), "--mode", "validate", "-c", str(file), "--log-level", "warning"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stdout + done.stderr


def environments_of(texts: dict[str, str], folder: Path, beside: Path) -> tuple[Environment, ...]:
    """Of files with these contents, each with a host of its own."""
    folder.mkdir()
    for name, text in texts.items():
        hosts = re.sub(r"^HOST=https://(?=[a-z])", f"HOST=https://{name}.", text, flags=re.MULTILINE)
        (folder / f"{name}.env").write_text(hosts.replace("=rsa-", f"={beside}/rsa-"))
    return Folder(folder, shown_as="envs").read()


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str, beside: Path, authority: Authority, files: Files, tmp_path: Path) -> None:
    """The configuration of every example in docs/providers.md is right, as Envoy itself says."""
    written(environments_of({"qa": EXAMPLES[name]}, tmp_path / "envs", beside), files, authority)
    code, said = validated(whole(files), tmp_path)
    assert code == 0, said
    assert "warning" not in said.lower(), said


@pytest.mark.parametrize(
    ("word", "wrong"),
    [
        ("connect_timeout", "connect_timeoux"),  # a field of a cluster
        ("stat_prefix", "stat_prefox"),  # of a listener
        ("direct_response", "direct_responsx"),  # of a route
        ("enabled_by_default_or_so", ""),  # nothing
        ("credential_injector.v3.CredentialInjector", "credential_injector.v3.CredentialInjecto"),  # of a filter
        ("CelMatcher", "CelMatchex"),  # of what comes by ECDS
    ],
)
def test_control(word: str, wrong: str, beside: Path, authority: Authority, files: Files, tmp_path: Path) -> None:
    """Envoy looks into all of it: what is wrong anywhere, is found."""
    written(environments_of({"qa": EXAMPLES["odd"]}, tmp_path / "envs", beside), files, authority)
    text = whole(files)
    assert (validated(text.replace(word, wrong), tmp_path)[0] != 0) == (word in text)


def test_together(beside: Path, authority: Authority, files: Files, tmp_path: Path) -> None:
    """Envoy takes all of them from the files, and refuses none."""
    texts = {f"e{number}": text for number, text in enumerate(EXAMPLES.values()) if text != EXAMPLES["odd"]}
    reverse = Reverse("e0", Address("127.0.0.1", 0))
    environments = environments_of(texts, tmp_path / "envs", beside)
    written(environments, files, authority, reverse)
    said: list[str] = []
    running = Envoy(files.paths.of("envoy.yaml"), Path(files.paths.of("admin")), said.append)
    try:
        admin = ready(running)
        assert running.listeners(admin).keys() == {"proxy", "reverse e0"}
        with urllib.request.urlopen(f"http://{admin}/stats?format=json&usedonly") as answer:
            stats = {one["name"]: one["value"] for one in json.load(answer)["stats"] if "name" in one}
    finally:
        running.end()
    assert not {name: value for name, value in stats.items() if "update_rejected" in name and value}
    assert not [line for line in said if "rejected" in line or "error" in line.lower()]
    assert stats["cluster_manager.active_clusters"] == 1 + 2 * len(environments)


def test_reverse_mistakes(beside: Path, authority: Authority, files: Files, tmp_path: Path) -> None:
    """A reverse proxy that cannot be is refused with its name, and why."""
    texts = {
        "wild": WHOLE.replace("https://api", "https://*.api") + "TOKEN_ENDPOINT=https://login.example.com/token\n",
        "key": EXAMPLES["Key in the query"],
    }
    environments = environments_of(texts, tmp_path / "envs", beside)
    for name, why in (("none", "no such"), ("wild", "wildcard"), ("key", "QUERY")):
        with pytest.raises(ValueError, match=f"--reverse {name}: .*{why}"):
            written(environments, files, authority, Reverse(name, Address("127.0.0.1", 0)))

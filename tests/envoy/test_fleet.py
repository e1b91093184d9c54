"""The files of docs/fleet: systemd's unit and the manifest for Kubernetes."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from credential_injector.cli.main import main
from credential_injector.environments.environment import Environment
from credential_injector.environments.folder import Folder
from credential_injector.envoy.configuration import start
from credential_injector.envoy.paths import Paths
from tests.conftest import tool
from tests.environments.files import ENOUGH
from tests.test_docs import PACKAGE, PAGES, table

FILES = Path(__file__).parents[2] / "docs" / "fleet"
UNIT = FILES / "credential-injector-envoy.service"
LOOSEST = 20  # tenths, of the 100 of a service without any hardening


def unit() -> dict[str, list[str]]:
    """The settings of the unit, each with its values."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def pod() -> Any:
    """The pod of the manifest."""
    return YAML(typ="safe", pure=True).load(manifest())["spec"]["template"]["spec"]


def manifest() -> str:
    return (FILES / "sidecar.yaml").read_text("utf-8")


def container(name: str) -> Any:
    return next(one for kind in ("initContainers", "containers") for one in pod()[kind] if one["name"] == name)


def options(words: list[str]) -> dict[str, str]:
    """The options of `credential-injector envoy`, as the command itself reads them."""
    words = [*words[words.index("envoy") + 1 :]]
    command = main.commands["envoy"]
    with command.make_context("envoy", words) as context:
        return {name: str(value) for name, value in context.params.items()}


def test_unit(tmp_path: Path) -> None:
    """systemd takes it, and finds little that a service of this kind could do without."""
    program = tool("systemd-analyze", package="systemd")
    own = tmp_path / UNIT.name
    (command, *_) = shlex.split(unit()["ExecStart"][0])
    own.write_text(UNIT.read_text("utf-8").replace(command, sys.executable))
    for words in (["verify", "--man=no"], ["security", "--offline=yes", f"--threshold={LOOSEST}"]):
        done = subprocess.run([program, *words, str(own)], capture_output=True, text=True, timeout=60, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert not re.search("[Uu]nknown|[Ii]gnoring", said), said


def test_unit_command() -> None:
    """Its command has options that there are, a folder that systemd makes and removes, and leaves no Envoy behind."""
    found = unit()
    given = options(shlex.split(found["ExecStart"][0]))
    assert given["directory"] == f"/run/{found['RuntimeDirectory'][0]}"
    assert given["config_only"] == "False"
    assert found["RuntimeDirectoryMode"] == ["0700"]
    assert found["KillMode"] == ["mixed"]
    assert found["LimitCORE"] == ["0"]


def test_manifest() -> None:
    """Kubernetes knows each field of it."""
    loaded = YAML(typ="safe", pure=True).load(manifest())
    kubernetes_validate.validate(loaded, "1.31", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**loaded, "spec": {**loaded["spec"], "replica": 2}}, "1.31", strict=True)


def test_manifest_command() -> None:
    """The feeder writes where Envoy reads, under the same path, and nobody else sees that folder."""
    feeder, envoy = container("feeder"), container("envoy")
    given = options([*feeder["command"], *feeder["args"]])
    assert given["config_only"] == "True"
    assert f"{given['directory']}/envoy.yaml" in envoy["args"]
    assert f"{given['directory']}/envoy.yaml" in feeder["startupProbe"]["exec"]["command"]
    (words,) = re.findall(r"^# Start: envoy -c \S+(.*)$", start((), 0, Paths(given["directory"])), re.MULTILINE)
    assert set(words.split()) <= set(envoy["args"])
    (place,) = [one for one in feeder["volumeMounts"] if given["directory"].startswith(f"{one['mountPath']}/")]
    assert place in envoy["volumeMounts"]
    assert place["name"] not in [one["name"] for one in container("app")["volumeMounts"]]
    (volume,) = [one for one in pod()["volumes"] if one["name"] == place["name"]]
    assert volume["emptyDir"]["medium"] == "Memory"
    assert feeder["securityContext"] == envoy["securityContext"]
    assert feeder["securityContext"]["runAsUser"] != container("app")["securityContext"]["runAsUser"]
    assert f":{given['admin']}/ready" in str(envoy["readinessProbe"])
    assert {"name": "HTTPS_PROXY", "value": f"http://{given['listen']}"} in container("app")["env"]


@pytest.mark.parametrize("name", ["feeder", "envoy", "app"])
def test_no_privilege(name: str) -> None:
    """No container has any, and each says what it needs."""
    one = container(name)
    context = one["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["runAsUser"] > 0
    assert pod()["securityContext"]["runAsNonRoot"]
    assert one["resources"]["requests"]
    assert one["resources"]["limits"]["memory"]
    assert not {"hostNetwork", "hostPID", "hostPath"} & set(re.findall(r"\w+", str(pod())))


def projected(folder: Path, number: int, secret: str) -> None:
    """What the kubelet makes of a projected volume: a folder that is sticky, and links that are moved all at once."""
    data = folder / f"..{number}"
    data.mkdir(mode=0o755)
    for name, text in (("qa.env", f"{ENOUGH}CLIENT_SECRET_FILE=qa.secret\n"), ("qa.secret", secret)):
        (data / name).write_text(text)
        (data / name).chmod(0o440)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    (folder / "..data_tmp").symlink_to(data.name)
    (folder / "..data_tmp").rename(folder / "..data")
    folder.chmod(0o3777)


def secret_of(environments: tuple[Environment, ...]) -> str:
    (environment,) = environments
    return environment.token_request.client_secret


def test_projected(tmp_path: Path) -> None:
    """Environment files and their secrets are read from a projected volume, and again when Kubernetes replaces it."""
    folder = tmp_path / "envs"
    folder.mkdir()
    projected(folder, 1, "first")
    envs = Folder(folder, shown_as="envs")
    assert secret_of(envs.read()) == "first"
    projected(folder, 2, "second")
    assert secret_of(envs.read()) == "second"


def test_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may name the secret that systemd hands to the service."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (line,) = re.findall(r"^# In envs/qa.env: (.+)$", UNIT.read_text("utf-8"), re.MULTILINE)
    (name,) = (value.partition(":")[0] for value in unit()["LoadCredential"])
    (tmp_path / name).write_text("canary")
    (tmp_path / name).chmod(0o400)
    envs = tmp_path / "envs"
    envs.mkdir()
    (envs / "qa.env").write_text(f"{ENOUGH}{line}\n")
    assert secret_of(Folder(envs, shown_as="envs").read()) == "canary"


def test_words() -> None:
    """The words that the page has Envoy, or the command, say are the code's."""
    code = "".join(file.read_text("utf-8") for file in PACKAGE.rglob("*.py"))
    code = re.sub(r'"\n\s*f?"', "", code)
    rows = PAGES["docs/fleet.md"].partition("\n## What fails, and what it looks like\n")[2].partition("\n## ")[0]
    told = re.findall(r"`([A-Za-z][a-z]+ [^`]+)`", rows)
    assert len(told) >= 8
    assert [words for words in told if words not in code and not words.startswith("credential-injector ")] == []


def test_files() -> None:
    """The page tells of each file of the folder, and of no other."""
    paths = Paths("")
    names = [paths.token("NAME"), paths.header("NAME", "HEADER"), paths.until("NAME"), paths.reason("NAME")]
    named = {*names, paths.routes("*"), paths.certificate(7), paths.trusted(""), paths.refusals}
    named |= {paths.of(one) for one in ("envoy.yaml", "clusters.json", "listeners.json", "metrics.prom", "admin")}
    told = {row[0].strip("`") for row in table("docs/fleet.md", "## What is in the folder")}
    shown = {name.removeprefix("/").replace("-7.", "-N.").replace("routes-_.", "routes-*.") for name in named}
    assert {name.lower() for name in told} == {name.replace("trusted.", "trusted*.").lower() for name in shown}


def test_options() -> None:
    """docs/command-line.md tells each option of the command, with its default."""
    shared = {"--envs", "--tokens"}
    params = [one for one in main.commands["envoy"].params if isinstance(one, click.Option)]
    known = {one.opts[0]: one.default for one in params if not shared & set(one.opts)}
    told = {row[0].strip("`"): row[1] for row in table("docs/command-line.md", "## envoy")}
    assert told.keys() == known.keys()
    shown = {name: default.strip("`") for name, default in told.items() if default.startswith("`")}
    assert shown == {name: known[name] for name in shown}
    assert {"--listen", "--clients", "--confdir"} == shown.keys()

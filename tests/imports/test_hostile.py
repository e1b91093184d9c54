"""Files that are broken, or that somebody made on purpose: an error by file and place, and nothing is written."""

import errno
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from credential_injector.cli.main import main
from credential_injector.environments.env_file import EnvFile
from credential_injector.environments.environment import parse
from credential_injector.imports.draft import Draft, environment_name
from credential_injector.imports.env_text import env_text
from credential_injector.imports.formats import drafts_of
from credential_injector.imports.postman_script import read_script
from credential_injector.imports.source import NotImportable, open_source
from credential_injector.imports.variables import Variables
from tests.imports.fixtures import FORMATS, SCHEMA, SECRET

LOGIN, API = "https://login.example.com", "https://api.example.com"


def made(name: str, folder: Path) -> list[str]:
    """The files of a format, without the secret of the end-to-end tests, which nothing may leave behind."""
    files = FORMATS[name](folder, LOGIN, API)
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_text(path.read_text().replace(SECRET, "canary"))
    return files


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["import", *words, "--envs", str(folder / "envs")])


def refused(folder: Path, *files: str) -> str:
    """The error. Nothing is written."""
    result = run(folder, *files)
    assert result.exit_code == 1, result.output
    assert not list(folder.glob("envs/*"))
    assert not isinstance(result.exception, Exception) or isinstance(result.exception, SystemExit)
    return result.output


@pytest.mark.parametrize("name", FORMATS)
def test_truncated(tmp_path: Path, name: str) -> None:
    """A file that ends too early is told, or what is left of it is all there is; nothing fails in another way."""
    files = made(name, tmp_path)
    path = Path(files[0]) / "collection.bru" if name == "bruno" else Path(files[0])
    content = path.read_bytes()
    for size in range(0, len(content), 23):
        path.write_bytes(content[:size])
        with suppress(NotImportable):
            drafts_of([open_source(Path(file)) for file in files])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xfe", "byte 0: is not UTF-8"),
        (b"", "is of no known format; expected one of Postman collection, "),
        (b"[]", "is of no known format"),
        (b'{"a": NaN}', "holds NaN or Infinity"),
        (b'{"a": 1, "a": 2}', "gives one key of an object twice"),
        (b'{"a": ' + b"9" * 5000 + b"}", "holds a number that is too long"),
        (b"[" * 100_000, "nests more than 100"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "nests more than 100"),
        (b'{\n  "a": }', "line 2, column 8: is no JSON"),
        (b'{"info": {"schema": "' + SCHEMA.encode() + b'"}, "item": 7}', "names no credentials that can be used here"),
        (b"curl -d 'a", "the command: has a quote that is not closed"),
        (b"curl -d grant_type=client_credentials", "the command: names no URL"),
        (b"curl https://login.example.com/", "the command: sends no grant_type"),
        (b"curl -d", "the command: ends after -d"),
        (b'{"openapi": "3.1.0"}', "securitySchemes: is missing or empty"),
        (b"x" * (21 << 20), "is larger than 20 MB"),
    ],
)
def test_content(tmp_path: Path, content: bytes, told: str) -> None:
    """The error names the file and the place."""
    (tmp_path / "file.json").write_bytes(content)
    output = refused(tmp_path, str(tmp_path / "file.json"))
    assert "file.json: " in output
    assert told in output


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &x [1]\nb: *x", "uses aliases of YAML"),
        ("a: &-a [1]\nb: *-a", "uses aliases of YAML"),
        ("a: [", "is no YAML"),
        ("a: !!python/object/apply:os.system [id]", "is no YAML"),
        ("a: !!bool maybe", "holds a value that YAML cannot be"),
        ("a: !!int ''", "holds a value that YAML cannot be"),
        (f"type: collection.insomnia.rest/5.0\nname: 0x{'f' * 5000}", "names no credentials that can be used here"),
        ("x: y\n" * 500_000, "is larger than 2 MB"),
    ],
)
def test_yaml(tmp_path: Path, text: str, told: str) -> None:
    """YAML makes no objects and no bombs."""
    (tmp_path / "file.yaml").write_text(text)
    assert told in refused(tmp_path, str(tmp_path / "file.yaml"))


def test_no_file(tmp_path: Path) -> None:
    """A pipe, a folder and a missing file are no files."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "missing"):
        assert "is no file" in (output := refused(tmp_path, f"{tmp_path}/{name}")) or "cannot be read" in output


def collection(fields: dict[str, Any], name: str = "x", url: str = f"{API}/orders") -> dict[str, Any]:
    given = {"accessTokenUrl": f"{LOGIN}/token", "clientId": "me", "clientSecret": "it", **fields}
    auth = {"type": "oauth2", "oauth2": [{"key": key, "value": value} for key, value in given.items()]}
    return {"info": {"name": name, "schema": SCHEMA}, "auth": auth, "item": [{"request": {"url": url}}]}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"accessTokenUrl": "http://login.example.com/token"}, "TOKEN_ENDPOINT: would send the credentials in clear"),
        ({"clientId": "a\nHOST=https://evil.example"}, "CLIENT_ID: holds a line break"),
        ({"headerPrefix": "a\r\nX: y"}, "PREFIX: cannot stand in a header"),
        (
            {"tokenRequestParams": [{"key": "x_COMMAND", "value": "touch pwned", "enabled": True}]},
            "TOKEN_PARAM_x_COMMAND: cannot be a key of an environment file",
        ),
        (
            {"tokenRequestParams": [{"key": "x_FILE", "value": "/etc/passwd", "enabled": True}]},
            "TOKEN_PARAM_x_FILE: cannot be a key of an environment file",
        ),
        (
            {"tokenRequestParams": [{"key": "a=b\nCLIENT_ID_COMMAND", "value": "x", "enabled": True}]},
            "cannot be a key of an environment file",
        ),
        (
            {"tokenRequestParams": [{"key": "x\nTOKEN_PARAM_y=z\n#", "value": "{{unset}}", "enabled": True}]},
            "TOKEN_PARAM_x?TOKEN_PARAM_y=z?#: cannot be a key of an environment file",
        ),
        (
            {
                "clientSecret": "",
                "tokenRequestParams": [
                    {"key": "x\nCLIENT_SECRET_COMMAND=touch pwned\n#", "value": "{{unset}}", "enabled": True}
                ],
            },
            "cannot be a key of an environment file",
        ),
        ({"scope": "\ud800"}, "SCOPE: cannot be written into an environment file"),
        (
            {"tokenRequestParams": [{"key": "client_id", "value": "x", "enabled": True}]},
            "TOKEN_PARAM_client_id: would replace a standard field",
        ),
    ],
)
def test_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], told: str) -> None:
    """No value of somebody else's begins a line, chooses a command or a file, or weakens a rule."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.json").write_text(json.dumps(collection(fields)))
    assert told in refused(tmp_path, "c.json")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["../../etc/x", "a\0b", "\x1b[31m", "CON.", "a" * 500, "..", "", "ä"])
def test_name(tmp_path: Path, name: str) -> None:
    """A name of somebody else's leads nowhere else."""
    (tmp_path / "c.json").write_text(json.dumps(collection({}, name)))
    result = run(tmp_path, str(tmp_path / "c.json"))
    assert result.exit_code == 0, result.output
    (path,) = tmp_path.glob("envs/*")
    assert path.suffix == ".env"
    assert result.stdout.replace("\n", "").isprintable()
    assert environment_name(name).isascii()


@pytest.mark.parametrize("name", ["../x", "{outside}/x", "a/b", "..", "", "a b", "a\nb", "~/x", "C:\\x"])
def test_name_given(tmp_path: Path, name: str) -> None:
    """Nor does one that is given."""
    folder = outside(tmp_path)
    (folder / "c.json").write_text(json.dumps(collection({})))
    given_name = name.format(outside=tmp_path / "outside")
    result = run(folder, str(folder / "c.json"), "--name", given_name, "--force")
    assert (result.exit_code, "cannot name an environment" in result.output) == (1, True)
    assert [path.name for path in folder.iterdir()] == ["c.json"]
    untouched(tmp_path)


@pytest.mark.parametrize("name", ["../x", "{outside}/x", "../../outside/x", "x/../../outside/x"])
@pytest.mark.parametrize("kind", ["postman", "jetbrains", "insomnia", "openapi"])
def test_name_in_a_file(tmp_path: Path, kind: str, name: str) -> None:
    """An environment is never a file outside of --envs, whatever a file calls it and the folder holds."""
    folder, name = outside(tmp_path), name.format(outside=tmp_path / "outside")
    path = folder / ("http-client.env.json" if kind == "jetbrains" else "c.json")
    bearer = {"type": "bearer", "token": "t"}
    scheme = {"type": "http", "scheme": "bearer"}
    said: dict[str, Any] = {
        "postman": collection({}, name),
        "jetbrains": {name: {"api": API, "Security": {"Auth": {"one": {"Type": "Mock", "Token": "t"}}}}},
        "insomnia": {
            "type": "collection.insomnia.rest/5.0",
            "collection": [{"url": API, "name": name, "authentication": bearer}],
            "environments": {"name": name},
        },
        "openapi": {
            "openapi": "3.0.0",
            "servers": [{"url": API, "description": name}],
            "components": {"securitySchemes": {"k": scheme}},
        },
    }[kind]
    path.write_text(json.dumps(said))
    result = run(folder, str(path), "--force")
    assert result.exit_code == 0, result.output
    (made_file,) = (folder / "envs").iterdir()
    assert made_file.suffix == ".env"
    untouched(tmp_path)


def outside(folder: Path) -> Path:
    """A folder for --envs, and beside it one that an import could reach, with files that it could replace."""
    for name in ("outside", "imports"):
        (folder / name).mkdir()
        (folder / name / "x.env").write_text("before")
    (folder / "x.env").write_text("before")
    (folder / "imports" / "x.env").unlink()
    return folder / "imports"


def untouched(folder: Path) -> None:
    """Nothing outside of --envs is new or other than before."""
    found = {path for path in folder.rglob("*") if path.is_file() and "imports" not in path.relative_to(folder).parts}
    assert found == {folder / "x.env", folder / "outside" / "x.env"}
    assert {path.read_text() for path in found} == {"before"}


def test_beside_of_others(tmp_path: Path) -> None:
    """The private file beside one that is named is not read where others can change it, unless it is named, too."""
    (public,) = made("jetbrains", tmp_path)
    private = Path(public).with_name("http-client.private.env.json")
    private.chmod(0o666)
    assert "other users of this machine can change it; name it, too" in refused(tmp_path, public)
    assert run(tmp_path, public, str(private)).exit_code == 0


def basic(name: str, user: str) -> dict[str, Any]:
    fields = [{"key": "username", "value": user}, {"key": "password", "value": "it"}]
    return {"name": name, "auth": {"type": "basic", "basic": fields}, "request": {"url": f"https://{user}.example.com"}}


def test_one_name_twice(tmp_path: Path) -> None:
    """Requests of one name become environments of two."""
    items = [basic("List", "a"), basic("List", "b"), basic("List", "c")]
    (tmp_path / "c.json").write_text(json.dumps({**collection({}), "auth": None, "item": items}))
    assert run(tmp_path, str(tmp_path / "c.json")).exit_code == 0
    assert sorted(path.stem for path in tmp_path.glob("envs/*")) == ["x", "x-list", "x-list-2"]


def test_terminal(tmp_path: Path) -> None:
    """A terminal obeys nothing of what is told."""
    parameter = {"key": "\x1b]0;x\x07", "value": "y", "send_as": "request_url"}
    document = collection({"tokenRequestParams": [parameter]})
    (tmp_path / "c.json").write_text(json.dumps({**document, "item": [*document["item"], basic("\x1b[31m", "a")]}))
    result = run(tmp_path, str(tmp_path / "c.json"))
    assert result.exit_code == 0
    assert result.stdout.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "script",
    [
        "{key:'a',value:" + " " * 190_000,
        "raw:" + " " * 190_000,
        "raw:" * 45_000,
        "'Basic ' + btoa(" + "a()" * 30_000,
        "const a=" + "pm.environment.get('a')+" * 7000,
    ],
)
def test_long_script(script: str) -> None:
    """No script keeps the reader busy. (It took minutes.)"""
    start = time.process_time()
    assert read_script(f"pm.sendRequest({script}") is None
    assert time.process_time() - start < 5


def test_variables_in_one_another() -> None:
    """Two variables of a file do not fill the memory. (These come to 120 GB.)"""
    variables = Variables({"a": "{{b}}" * 12_000, "b": "x" * 10_000_000})
    assert variables.value("{{a}}") == ""


def test_not_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """${NAME} in a value of somebody else's stays text."""
    monkeypatch.setenv("CANARY", "canary")
    (tmp_path / "c.json").write_text(json.dumps(collection({"clientSecret": "${CANARY}", "scope": "${CANARY}"})))
    assert run(tmp_path, str(tmp_path / "c.json")).exit_code == 0
    file = EnvFile(tmp_path / "x.env", "x.env")
    environment = parse(file, (tmp_path / "envs" / "x.env").read_text())
    assert environment is not None
    assert (environment.token_request.client_secret, environment.token_request.scope) == ("${CANARY}", "${CANARY}")


def test_overwrites_nothing(tmp_path: Path) -> None:
    """Without --force what is there stays, also a link that leads elsewhere; with it, the link is replaced."""
    (tmp_path / "c.json").write_text(json.dumps(collection({})))
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "x.env").symlink_to(tmp_path / "target")
    result = run(tmp_path, str(tmp_path / "c.json"))
    assert (result.exit_code, "exists already; choose another --name" in result.output) == (1, True)
    forced = CliRunner().invoke(main, ["import", str(tmp_path / "c.json"), "--envs", str(tmp_path / "envs"), "--force"])
    assert forced.exit_code == 0
    assert not (tmp_path / "target").exists()
    assert not (tmp_path / "envs" / "x.env").is_symlink()
    assert [path.name for path in (tmp_path / "envs").iterdir()] == ["x.env"]


def test_folder_in_the_way(tmp_path: Path) -> None:
    """With --force, too, all are written or none."""
    files = made("jetbrains", tmp_path)
    document = json.loads(Path(files[0]).read_text())
    Path(files[0]).write_text(json.dumps({**document, "uat": {**document["qa"], "secret": "x"}}))
    (tmp_path / "envs" / "uat.env").mkdir(parents=True)
    (tmp_path / "envs" / "qa.env").write_text("before")
    result = run(tmp_path, *files, "--force")
    assert (result.exit_code, "uat.env is a folder" in result.output) == (1, True)
    assert (tmp_path / "envs" / "qa.env").read_text() == "before"
    assert sorted(path.name for path in (tmp_path / "envs").iterdir()) == ["qa.env", "uat.env"]


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk may have none; the file is nobody else's there, too, and overwrites nothing."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    (tmp_path / "c.json").write_text(json.dumps(collection({})))
    assert run(tmp_path, str(tmp_path / "c.json")).exit_code == 0
    (path,) = (tmp_path / "envs").iterdir()
    assert (path.name, path.stat().st_mode & 0o777) == ("x.env", 0o600)
    assert "CLIENT_SECRET=it" in path.read_text()


def test_all_or_nothing(tmp_path: Path) -> None:
    """Where one of several environments cannot be written, none is."""
    files = made("jetbrains", tmp_path)
    document = json.loads(Path(files[0]).read_text())
    document["prod"] = {**document["qa"], "login": "http://login.example.com", "secret": "x"}
    Path(files[0]).write_text(json.dumps(document))
    assert "environment prod: TOKEN_ENDPOINT: would send the credentials in clear" in refused(tmp_path, *files)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1, max_size=30))
def test_read_back(value: str) -> None:
    """What is written is read back as it was, or not written at all."""
    try:
        text = env_text(Draft("x", {"TOKEN_PARAM_a": value, "CLIENT_ID": "'"}, "x"))
    except ValueError:
        return
    file = EnvFile(Path("x.env"), "x.env")
    bindings = file.bindings(text, str, lambda key, _: key)
    assert file.mistakes == []
    assert {key: binding.value for key, binding in bindings.items()} == {"TOKEN_PARAM_a": value, "CLIENT_ID": "'"}

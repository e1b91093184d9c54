"""Files that are made to take all memory or time: within a GiB and seconds, an error that names the file, or drafts."""

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.imports.fixtures import SCHEMA

MB = 1 << 20
MEMORY = 1 << 30  # bytes of addresses, those of the interpreter and its libraries among them
PROGRAM = "from credential_injector.cli.main import main; main()"
CPU = 60  # seconds; the slowest, YAML, takes 8 of them


def repeated(text: str, size: int = 19 * MB) -> str:
    return ",".join([text] * (size // (len(text) + 1)))


def numbered(text: str, count: int) -> str:
    return ",".join(text.replace("#", str(number)) for number in range(count))


def filled(text: str, *parts: str) -> str:
    """The text with a part for each @."""
    first, *rest = text.split("@")
    return first + "".join(part + more for part, more in zip(parts, rest, strict=True))


def collection(items: str, auth: str = '{"type": "bearer", "bearer": {"token": "t"}}', more: str = "") -> str:
    return f'{{"info": {{"name": "x", "schema": "{SCHEMA}"}}, "auth": {auth}, {more} "item": [{items}]}}'


def environment(value: str, name: str = "x") -> str:
    return f'{{"name": "{name}", "values": [{{"key": "client_id", "value": "{value}"}}]}}'


PARAMETERS = '{"type": "oauth2", "oauth2": {"accessTokenUrl": "https://l.test/", "tokenRequestParams": [@]}}'
SCRIPT = filled('{"listen": "prerequest", "script": {"exec": "@"}}', "pm.sendRequest({url:" * 9000)
SCHEMES = '{"openapi": "3.0.0", "components": {"securitySchemes": {@}}}'
FILES: dict[str, tuple[str, Callable[[], str], str]] = {
    "50 MB": ("x.json", lambda: "[" + "1," * (25 * MB) + "1]", "is larger than 20 MB"),
    "50 MB of YAML": ("x.yaml", lambda: "a: b\n" * (10 * MB), "is larger than 20 MB"),
    "depth": ("x.json", lambda: "[" * 19 * MB, "holds more than 500000 values"),
    "objects": ("x.json", lambda: f"[{repeated('{}')}]", "holds more than 500000 values"),
    "lists": ("x.json", lambda: f"[{repeated('[[]]')}]", "holds more than 500000 values"),
    "numbers": ("x.json", lambda: f"[{repeated('1.5')}]", "holds more than 500000 values"),
    "depth of YAML": ("x.yaml", lambda: "a: " + "[" * (MB * 19 // 10), "nests more than 100"),
    "sequences of YAML": ("x.yaml", lambda: "- " * (MB * 9 // 10), "nests more than 100"),
    "keys of YAML": ("x.yaml", lambda: "".join(f"k{number}: y\n" for number in range(150_000)), "more than 100000 val"),
    "laughs": (
        "x.yaml",
        lambda: (
            "a: &a [x]\n"
            + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abc", "bcd", strict=True))
        ),
        "line 2, column 8: uses aliases of YAML",
    ),
    "requests": ("x.json", lambda: collection(numbered('{"request": "a#.b"}', 30_000)), "has more than 20000 requests"),
    "auths": (
        "x.json",
        lambda: collection(
            numbered('{"request": {"url": "a", "auth": {"type": "bearer", "bearer": {"token": "#"}}}}', 999)
        ),
        "has more than 200 auths in its environments",
    ),
    "long auth of many": (
        "x.json",
        lambda: collection(
            numbered('{"request": "a.test"}', 20_000),
            filled('{"type": "bearer", "bearer": {"token": "@"}}', "x" * 15 * MB),
        ),
        "fill in VALUE",
    ),
    "long auth of many in Bruno": (
        "x.json",
        lambda: filled(
            '{"opencollection": "1.0.0", "items": [@], "request": {"auth": {"type": "bearer", "token": "@"}}}',
            numbered('{"http": {"url": "a.test", "auth": "inherit"}}', 20_000),
            "x" * 15 * MB,
        ),
        "fill in VALUE",
    ),
    "long auth of many in Insomnia": (
        "x.json",
        lambda: filled(
            '{"type": "collection.insomnia.rest/5.0", "collection": [{"authentication":'
            ' {"type": "bearer", "token": "@"}, "children": [@]}]}',
            "x" * 15 * MB,
            numbered('{"url": "a.test"}', 20_000),
        ),
        "fill in VALUE",
    ),
    "settings": (
        "x.json",
        lambda: collection('{"request": "a.b"}', filled(PARAMETERS, numbered('{"key": "k#", "value": "v"}', 50_000))),
        "an auth has more than 200 settings",
    ),
    "script": ("x.json", lambda: collection('{"request": "a.b"}', more=filled('"event": [@],', repeated(SCRIPT))), ""),
    "variables": (
        "x.json",
        lambda: collection(
            repeated('{"request": "{{a}}/"}', 300_000),
            more=filled('"variable": [{"key": "a", "value": "@"}],', "{{a}}" * MB),
        ),
        "",
    ),
    "environments of JetBrains": (
        "http-client.env.json",
        lambda: filled('{"$shared": {"Security": {"Auth": {}}}, @}', numbered('"e#": {}', 60_000)),
        "has more than 50 environments",
    ),
    "auths of JetBrains": (
        "http-client.env.json",
        lambda: filled('{"$shared": {"Security": {"Auth": {@}}}, "a": {}}', numbered('"a#": {"Type": "x"}', 60_000)),
        "has more than 200 auths in its environments",
    ),
    "folders of Insomnia": (
        "x.json",
        lambda: filled(
            '{"_type": "export", "resources": [@, @]}',
            numbered('{"_id": "f#", "_type": "request_group", "parentId": "f#", "environment": {"a": "#"}}', 15_000),
            numbered('{"_id": "r#", "_type": "request", "url": "{{a}}", "parentId": "f#"}', 15_000),
        ),
        "names no credentials",
    ),
    "schemes": (
        "x.json",
        lambda: filled(SCHEMES, numbered('"k#": {"type": "oauth2", "flows": {"clientCredentials": {}}}', 60_000)),
        "has more than 200 auths in its environments",
    ),
    "other schemes": (
        "x.json",
        lambda: filled(SCHEMES, numbered('"k#": {"type": "mutualTLS", "flows": {}}', 80_000)),
        "79950 more",
    ),
    "server": (
        "x.json",
        lambda: filled(
            '{"openapi": "3.0.0", "servers": [{"url": "https://a.test/@", "variables": {"a": {"default": "@"}}}],'
            ' "components": {"securitySchemes": {"k": {"type": "http", "scheme": "bearer"}}}}',
            "{a}" * MB,
            "x" * MB,
        ),
        "",
    ),
    "curl": ("x.txt", lambda: "curl https://l.test/t " + "-d a=b " * MB, "the command: is longer than 256 KB"),
    "comments before curl": ("x.txt", lambda: "# a\n" * (4 * MB), "is of no known format"),
    "block of Bruno": ("x.bru", lambda: "get { url: " + " " * (19 * MB) + "}", "names no credentials"),
    "name of Bruno": ("x.bru", lambda: "a-" * (9 * MB) + "!", "line 1: begins no block"),
    "value": ("x.json", lambda: environment("x" * 19 * MB), ""),
    "value of variables": ("x.json", lambda: environment("{{a}}" * 3 * MB), ""),
    "braces": ("x.json", lambda: environment("{{" * 900_000), ""),
    "name": ("x.json", lambda: environment("a", "-" * 19 * MB), ""),
}


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", FILES)
def test_large(tmp_path: Path, name: str) -> None:
    """It is told, or what can be used of it is written; the rest of an environment's file stays short."""
    called, content, told = FILES[name]
    path = tmp_path / called
    path.write_text(content())
    command = [sys.executable, "-c", PROGRAM, "import", str(path), "--envs", str(tmp_path / "envs")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, preexec_fn=limit)
    path.unlink()  # pytest keeps the folders of three runs
    assert "Traceback" not in done.stderr
    assert told in done.stdout + done.stderr
    if done.returncode:
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"Error: {path}: ")
        assert not (tmp_path / "envs").exists()
    else:
        (written,) = (tmp_path / "envs").iterdir()
        assert written.stat().st_size < MB

"""What the documentation names is there: links, files, tests, commands and options."""

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mitmproxy
import pytest
from mitmproxy.test import taddons

from credential_injector import messages
from credential_injector.cli.main import main
from credential_injector.launch.variables import VARIABLES
from credential_injector.oauth.token import Served
from credential_injector.proxy import record
from credential_injector.proxy.addon import CredentialInjector
from credential_injector.proxy.policy import RULES
from tests.environments.test_providers import loaded
from tests.proxy.test_record import QA, TOKEN, flow_of, route_of

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "addon" / "credential_injector"
PAGES = {
    str(page.relative_to(ROOT)): page.read_text(encoding="utf-8")
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md")
    for page in sorted(ROOT.glob(pattern))
}
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED = re.compile(r"`([\w./-]+(?:\.(?:py|md|mjs|lua|toml|example)|/))(?:::(\w+))?`")
COMMAND = re.compile(r"^ {4,}(?:\.venv/bin/)?((?:make|credential-injector|mitm\w+) [^#\n]+)", re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The headings' anchors, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in re.findall(r"^#+ (.+)$", text, re.M)}


def commands(program: str) -> Iterator[list[str]]:
    """The words that follow a program in the indented blocks of all pages."""
    for text in PAGES.values():
        for line in COMMAND.findall(text):
            first, *words = shlex.split(line.partition(" | ")[0])
            if re.fullmatch(program, first):
                yield words


@pytest.fixture(scope="module")
def ours() -> dict[str, str]:
    """The add-on's options and their defaults."""
    with taddons.context(CredentialInjector()) as context:  # type: ignore[no-untyped-call]
        return {name: str(option.default) for name, option in context.options.items() if name.startswith("inject_")}


@pytest.mark.parametrize("page", PAGES)
def test_links(page: str) -> None:
    """Each link to a file, or to a heading in it, leads somewhere."""
    for link in LINK.findall(PAGES[page]):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert re.match("https?:", link) or target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", PAGES)
def test_names(page: str) -> None:
    """Each file, and each test in it, that stands in code type is there, or in mitmproxy."""
    places = [(ROOT / page).parent, ROOT, PACKAGE, *PACKAGE.glob("*/"), Path(mitmproxy.__file__).parent]
    for path, name in NAMED.findall(PAGES[page]):
        found = [place / path for place in places if (place / path).exists()]
        assert found, path
        assert not name or f"def {name}(" in found[0].read_text(encoding="utf-8"), name


def test_env_file(tmp_path: Path) -> None:
    """The environment file in README is right, and stays so with the line that replaces one of it."""
    text = PAGES["README.md"]
    file = "".join(line.strip() + "\n" for line in re.findall(r"^ +([A-Z_]+=.+)$", text, re.M))
    issuer = re.findall(r"`(ISSUER=.+?)` replaces\s+TOKEN_ENDPOINT", text)[0]
    with_endpoint = loaded(tmp_path, file)
    with_issuer = loaded(tmp_path, re.sub("^TOKEN_ENDPOINT=.+$", issuer, file, flags=re.M))
    assert with_endpoint.token_request != with_issuer.token_request


def test_make() -> None:
    """Each target of make's that a page names is there."""
    targets = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)[0].split()
    assert {words[0] for words in commands("make")} <= set(targets)


def test_command_line() -> None:
    """Each command of the command line's has the name and the options that a page writes."""
    for name, *given in commands("credential-injector"):
        words = given[: given.index("--")] if "--" in given else given  # what follows is another command
        flags = {flag for option in main.commands[name].params for flag in option.opts}
        assert {word for word in words if word.startswith("--")} <= flags, (name, *words)


def test_mitmproxy(ours: dict[str, str]) -> None:
    """Each option that a page sets is one of mitmweb's or of the add-on's."""
    mitmweb = [str(Path(sys.executable).with_name("mitmweb")), "--options"]
    theirs = subprocess.run(mitmweb, check=True, capture_output=True, text=True, timeout=60).stdout
    known = {*ours, *re.findall(r"^(\w+):", theirs, re.M)}
    told = {name for text in PAGES.values() for name in re.findall(r"--set ([a-z]\w*)=", text)}
    assert "inject_clients" in told <= known


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    rows = PAGES[page].partition(f"\n{heading}\n")[2].partition("\n|---")[2].partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def diagnoses() -> Iterator[tuple[str, str]]:
    """The code and the word of each diagnosis that the code makes."""
    for file in sorted((PACKAGE / "diagnosis").glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        chosen = {
            ast.unparse(node.targets[0]): [one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)]
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.IfExp)
        }
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "Diagnosis":
                code, word = call.args[:2]
                if isinstance(code, ast.Constant):
                    yield ast.literal_eval(code), ast.literal_eval(word)
                else:
                    assert ast.unparse(code) == ast.unparse(word)
                    yield from ((one, one) for one in chosen[ast.unparse(code)] if isinstance(one, str))


def test_diagnoses() -> None:
    """docs/verify.md tells each code of a diagnosis, with its word in the headline, and no other."""
    told = [(code.strip("`"), word.strip("`")) for code, word, *_ in table("docs/verify.md", "## Diagnosis")]
    assert sorted(told) == sorted(set(diagnoses()))


def test_words() -> None:
    """docs/verify.md tells each word that a rule of the policy puts into a headline."""
    told = " ".join(first for first, _ in table("docs/verify.md", "## How to read a flow"))
    for word in filter(None, (messages.word(rule.kind) for rule in RULES)):
        assert re.search(rf"\b{word}`", told), word


def test_metadata() -> None:
    """docs/verify.md tells each key of a flow's metadata, and no other."""
    keys: set[str] = set()
    places: list[dict[str, Any]] = [
        {"header": "X-Key"},
        {"query": "key"},
        {"cookie": "key", "production": True, "asked_as": ("me",)},
    ]
    for place in places:
        flow, environment = flow_of(), replace(QA, extra_headers=(("X-Key", "1"),), **place)
        record.retried(flow, route_of(environment), Served(TOKEN, "cached", 1.0), ("401", "200"), "")
        record.streamed(flow, "response", 1)
        record.outlived(flow)
        keys |= set(flow.metadata[record.KEY])
    told = {key for keys, _ in table("docs/verify.md", "## Scripts") for key in re.findall(r"`(\w+)`", keys)}
    assert told == keys


def test_variables() -> None:
    """docs/clients.md names each variable that is set, and who reads it."""
    told = [(re.findall(r"`(\w+)`", names), readers) for names, readers in table("docs/clients.md", "## What is set")]
    assert told == [(list(row.names), row.readers) for row in VARIABLES]


def test_options(ours: dict[str, str]) -> None:
    """README's table names each option of the add-on's, with its default."""
    rows = re.findall(r"^\| `(inject_\w+)` \| (.+?) \|", PAGES["README.md"], re.M)
    told = {name: {"all": "", "off": ""}.get(default, default.strip("`")) for name, default in rows}
    assert told == {name: default.lower() for name, default in ours.items()}

"""What docs/providers.md tells people to write is what is read."""

import re
import sys
from pathlib import Path

import pytest

from credential_injector.environments.env_file import EnvFile
from credential_injector.environments.environment import Environment, read
from tests.certificates import self_signed

TEXT = (Path(__file__).parents[2] / "docs" / "providers.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^### ([^\n]+)\n\n```ini\n(.+?)^```$", TEXT, re.MULTILINE | re.DOTALL))
SECRETS = re.findall(r"^\| (.+?) \| `((?:CLIENT_SECRET).*)` \|$", TEXT, re.MULTILINE)
SECRET = "canary-secret"


@pytest.fixture(scope="module")
def key_and_certificate() -> tuple[str, str]:
    certificate, key = self_signed("my-client", "RSA")
    return key, certificate


@pytest.fixture
def folder(tmp_path: Path, key_and_certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Beside the environment file, the files that it names; and the programs, each of which prints a secret."""
    key, certificate = key_and_certificate
    for name, text in (("rsa-key.pem", key), ("rsa-certificate.pem", certificate), ("qa.secret", f"{SECRET}\n")):
        (tmp_path / name).write_text(text)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("op", "vault", "aws", "pass", "keyring", "jq"):
        program = programs / name
        prints = "rsa-key.pem" if name == "jq" else "qa.secret"
        program.write_text(f"#!{sys.executable}\nprint(open({str(tmp_path / prints)!r}).read(), end='')\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("QA_SECRET", SECRET)
    return tmp_path


def loaded(folder: Path, text: str) -> Environment:
    path = folder / "qa.env"
    path.write_text(text)
    file = EnvFile(path, "envs/qa.env")
    environment = read(file)
    assert file.mistakes == []
    assert environment is not None
    return environment


@pytest.mark.parametrize("name", FILES)
def test_file(folder: Path, name: str) -> None:
    """The file of a provider is read, and so is each line that is commented out in it."""
    text = FILES[name]
    environment = loaded(folder, text)
    # What is commented out there is right as well, instead of or beside the rest.
    for line in re.findall(r"^#([A-Z_]+[a-z]*=.*)$", text, re.MULTILINE):
        assert loaded(folder, f"{text}{line}\n") != environment


def test_table() -> None:
    """Every provider of the table has its file."""
    anchors = {re.sub(r"[^a-z0-9 -]", "", name.lower()).replace(" ", "-") for name in FILES}
    assert set(re.findall(r"\]\(#([a-z0-9-]+)\)", TEXT)) == anchors
    assert len(anchors) == len(FILES) == TEXT.count("```ini")


@pytest.mark.parametrize(("where", "line"), SECRETS)
@pytest.mark.skipif(sys.platform == "win32", reason="the programs are scripts with a #! line")
def test_secret(folder: Path, where: str, line: str) -> None:
    """A secret comes from where people keep it."""
    line = line.replace("\\|", "|")
    environment = loaded(folder, f"HOST=https://api.example.com\nCLIENT_ID=abc\n{line}\n")
    assert environment.token_request.client_secret == SECRET


def test_table_of_secrets() -> None:
    """Every line of the table of secrets is tried."""
    assert len(SECRETS) == TEXT.count("`CLIENT_SECRET") == 9

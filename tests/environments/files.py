"""Env files as tests write them."""

import re
from pathlib import Path

import pytest

from credential_injector.environments.environment import Environment
from credential_injector.environments.folder import Folder, InvalidEnvironments
from tests.certificates import KEYS, pem_of, self_signed

ENOUGH = "HOST=https://api.qa.example.com\nCLIENT_ID=abc\n"
SECRET = "hunter2-canary"
WHOLE = f"{ENOUGH}CLIENT_SECRET={SECRET}\n"
KEY = pem_of(KEYS["P-256"]())
CERTIFICATE, CERTIFICATE_KEY = self_signed("client")


def pasted(key: str, pem: str) -> str:
    """A line with PEM text."""
    return f'{key}="{pem}"'


def read(folder: Path, text: str | bytes, name: str = "qa") -> Environment:
    """The environment of a file with this content."""
    content = text.encode() if isinstance(text, str) else text
    (folder / f"{name}.env").write_bytes(content)
    (environment,) = Folder(folder, shown_as="envs").read()
    return environment


def mistakes(folder: Path, text: str | bytes) -> tuple[str, ...]:
    """The mistakes of a file with this content, none of which repeats the secret."""
    with pytest.raises(InvalidEnvironments) as error:
        read(folder, text)
    assert SECRET not in str(error.value)
    for line in error.value.mistakes:
        assert re.match(r"envs/qa\.env: [^:]+: \S", line), line
        assert "expected" in line or "did you mean" in line, line
    return error.value.mistakes

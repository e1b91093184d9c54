"""Environments, and an Envoy's folder, as these tests make them."""

import json
import time
from pathlib import Path
from typing import Any

from credential_injector.environments.environment import Environment
from credential_injector.launch.envoy import LOOK, Envoy
from tests.environments.files import WHOLE, read

ENDPOINT = "https://login.qa.example.com/token"


def environment(folder: Path, text: str = "", *, host: str = "", name: str = "qa") -> Environment:
    """The environment of a file with these lines."""
    place = folder / name
    place.mkdir(exist_ok=True)
    start = f"{WHOLE.replace('https://api.qa.example.com', host) if host else WHOLE}TOKEN_ENDPOINT={ENDPOINT}\n"
    return read(place, f"{start}{text}", name)


def words(message: Any) -> str:
    """A message as text, to look for something in it."""
    return json.dumps(message)


def content(path: str | Path) -> Any:
    """What a file of Envoy's folder holds."""
    return json.loads(Path(path).read_text("utf-8"))


def credential(path: str | Path) -> str:
    """What a file of a credential puts into requests."""
    (resource,) = content(path)["resources"]
    return str(resource["generic_secret"]["secret"]["inline_string"])


def ready(running: Envoy) -> str:
    """The address of a started Envoy's admin page, once it serves."""
    while (admin := running.address()) is None:
        time.sleep(LOOK)
    return admin

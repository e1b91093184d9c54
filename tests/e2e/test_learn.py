"""Learn from traffic: a token request that passed the proxy becomes an environment file."""

from pathlib import Path

import requests
from click.testing import CliRunner, Result

from credential_injector.cli.main import main
from credential_injector.environments.env_file import EnvFile
from credential_injector.environments.environment import Environment, parse
from tests.e2e.conftest import CLIENT_ID, CLIENT_SECRET, Stage
from tests.e2e.mitmweb_api import WebApi
from tests.e2e.test_import import files, newman  # noqa: F401 - a fixture
from tests.imports.fixtures import FORMATS
from tests.ports import free_port


def learned(folder: Path, capture: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["learn", str(capture), "--envs", str(folder), *options])


def environment_of(path: Path) -> Environment:
    file = EnvFile(path, "qa.env")
    environment = parse(file, path.read_text())
    assert environment is not None, file.mistakes
    return environment


def test_newman(stage: Stage, files: Path) -> None:  # noqa: F811
    """What is learned of newman's own login means the same as what is imported of its collection."""
    login = stage.token_endpoint.removesuffix("/oauth2/v2.0/token")
    collection, environment = FORMATS["postman_script"](files, login, stage.http)
    capture = files / "capture"
    with stage.mitmproxy("mitmdump", "-w", str(capture)) as proxy:
        assert newman(collection, "-e", environment, proxy=proxy.url) == (0, [200, 200])
    result = learned(stage.folder / "envs", capture, "--name", "qa", "--secret")
    assert result.exit_code == 0, result.output
    assert CLIENT_SECRET not in result.output
    imported = CliRunner().invoke(main, ["import", collection, environment, "--envs", str(files / "envs")])
    assert imported.exit_code == 0, imported.output
    one, other = environment_of(stage.folder / "envs" / "qa.env"), environment_of(files / "envs" / "qa.env")
    assert (one.token_request, one.origins, one.header) == (other.token_request, other.origins, other.header)
    with requests.Session() as session:
        session.trust_env = False
        proxies = {"http": stage.mitmdump().url}
        assert session.get(f"{stage.http}/orders", proxies=proxies, timeout=60).status_code == 200


def test_command(stage: Stage) -> None:
    """In mitmweb inject.learn writes the file, and the next request has a token."""
    (stage.folder / "envs").mkdir(mode=0o700)
    with stage.mitmproxy("mitmweb", web_port=free_port(), web_open_browser="false") as proxy:
        web = WebApi(proxy)
        with requests.Session() as session:
            session.trust_env = False
            session.proxies = {"http": proxy.url}
            form = {"grant_type": "client_credentials", "scope": "read"}
            answer = session.post(stage.token_endpoint, form, auth=(CLIENT_ID, CLIENT_SECRET), timeout=60)
            bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
            assert session.get(f"{stage.http}/orders", headers=bearer, timeout=60).status_code == 200
            flow = web.flows()[0]["id"]
            said = web.ask("POST", "/commands/inject.learn", {"arguments": ["~u token", "qa", "true"]})
            assert said.status_code == 200, said.text
            proxy.wait_for("qa: http://127.0.0.1:.* with tokens from")
            assert flow
            assert session.get(f"{stage.http}/orders", timeout=60).status_code == 200
            again = web.ask("POST", "/commands/inject.learn", {"arguments": ["~u token", "qa", "true"]})
            assert "exists already" in again.text
            nothing = web.ask("POST", "/commands/inject.learn", {"arguments": ["~u orders"]})
            assert "no token request that was answered with a token" in nothing.text
    path = stage.folder / "envs" / "qa.env"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "TOKEN_ENDPOINT_AUTH_METHOD=client_secret_basic" in path.read_text()

"""Under which name a token is stored: a name that changes loses the login behind it."""

from pathlib import Path

import pytest

from credential_injector.environments.folder import Folder
from credential_injector.oauth.refresh_token import RefreshToken
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import AccessToken
from credential_injector.tokens.open_store import open_store
from credential_injector.tokens.sharing import identify, identify_as_before, shared
from tests.certificates import KEYS, pem_of

NOW = 1_700_000_000.0
LOGIN = TokenRequest(
    "https://login.test/token",
    "client",
    grant_type="authorization_code",
    auth_method="none",
    values=(("KEY_ID", "1"),),
    login=(("AUTHORIZATION_ENDPOINT", "https://login.test/a"), ("REDIRECT_URI", "http://127.0.0.1:8400/")),
)


def test_names_stay() -> None:
    """Files that name no login's keys keep their stored tokens; for those that do, the former name is known."""
    request = TokenRequest(
        "https://login.test/token", "client", client_secret="canary-secret", values=(("USERNAME", "me"),)
    )
    assert identify(request) == "v1-36d77ed66f6e7fe6ea3d4f52acceee118e61a298fee79ba9ba3273d64f1cbc06"
    assert identify_as_before(LOGIN) == "v1-ecc875f5a14ccf81efba1c0bcbeec343af3140bfaeb6bf562facf6675febd4b7"


@pytest.mark.parametrize(
    ("grant", "before", "after"),
    [
        ("authorization_code", "REDIRECT_URI=http://127.0.0.1:8400/", "REDIRECT_URI=http://127.0.0.1:8401/"),
        ("authorization_code", "", "REDIRECT_URI=http://127.0.0.1:8401/"),
        ("authorization_code", "AUTHORIZATION_ENDPOINT=https://a.example/1", "AUTHORIZATION_ENDPOINT=https://a.example/2"),
        ("device_code", "DEVICE_AUTHORIZATION_ENDPOINT=https://a.example/1", "DEVICE_AUTHORIZATION_ENDPOINT=https://a.example/2"),
    ],
)  # fmt: skip
def test_edited_login(tmp_path: Path, grant: str, before: str, after: str) -> None:
    """An edit of a key that only a login uses leaves the token request and its stored token as they are."""
    requests = []
    for line in (before, after):
        endpoints = "" if "ENDPOINT" in line else "AUTHORIZATION_ENDPOINT=https://a.example/1\n"
        text = f"HOST=https://api.example.com\nTOKEN_ENDPOINT=https://a.example/t\nCLIENT_ID=abc\n{endpoints}"
        (tmp_path / "qa.env").write_text(f"{text}GRANT_TYPE={grant}\n{line}\n")
        requests += [one.token_request for one in Folder(tmp_path).read()]
    one, other = requests
    assert (one, hash(one), identify(one)) == (other, hash(other), identify(other))
    key, _, value = after.partition("=")
    assert other.value(key) == value


@pytest.mark.parametrize("name", [identify, identify_as_before])
async def test_former_name(tmp_path: Path, name: type) -> None:
    """A login that was stored under its former name serves, and what comes of it gets the present one."""
    store = open_store(str(tmp_path / "tokens"))
    assert store is not None
    await store.write(name(LOGIN), AccessToken("old", NOW, NOW + 60, refresh_token="first"), NOW)
    refresh_token = RefreshToken()

    async def ask(asked_at: float) -> AccessToken:
        return AccessToken("new", asked_at, asked_at + 60, refresh_token=f"after {refresh_token.value}")

    request = shared(store, LOGIN, ask, refresh_token)
    assert (await request(NOW, None)).value == "old"
    assert (await request(NOW + 60, None)).value == "new"
    stored = await store.read(identify(LOGIN))
    assert stored is not None
    assert stored.refresh_token == "after first"
    await store.close()


def test_jwt_lifetime(tmp_path: Path) -> None:
    """Every value of a token request is text, JWT_LIFETIME too, however it is written."""
    key = pem_of(KEYS["P-256"]())
    (tmp_path / "key.pem").write_text(key)
    (tmp_path / "key.pem").chmod(0o600)
    lines = "HOST=https://api.example.com\nGRANT_TYPE=jwt_bearer\nJWT_ISSUER=x\nPRIVATE_KEY_FILE=key.pem\n"
    (tmp_path / "qa.env").write_text(f"{lines}JWT_LIFETIME=060\n")
    (environment,) = Folder(tmp_path).read()
    assert environment.token_request.values == (
        ("JWT_ISSUER", "x"),
        ("JWT_LIFETIME", "60"),
        ("PRIVATE_KEY", key.strip()),
    )

"""What an issuer's metadata says."""

from typing import Any

import pytest

from credential_injector.oauth.discovery import Metadata, locations, metadata
from credential_injector.oauth.token import NoToken

ISSUER = "https://login.example.com/tenant"
ALIASES = {"token_endpoint": "https://mtls.example.com/token"}


@pytest.mark.parametrize(
    ("issuer", "oauth", "openid"),
    [
        ("https://a.example", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"),
        ("https://a.example/", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"),
        (
            "https://a.example/t/1",
            "/.well-known/oauth-authorization-server/t/1",
            "/t/1/.well-known/openid-configuration",
        ),
    ],
)
def test_locations(issuer: str, oauth: str, openid: str) -> None:
    """Metadata is at the places of RFC 8414 and OpenID Connect."""
    assert locations(issuer) == (f"https://a.example{oauth}", f"https://a.example{openid}")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (f"{ISSUER}/", f"{ISSUER} names the issuer {ISSUER}/; only the slash at the end differs"),
        (f"{ISSUER}//", f"{ISSUER} names another issuer"),
        ("https://evil.example/canary", f"{ISSUER} names another issuer"),
        (ISSUER.upper(), f"{ISSUER} names another issuer"),
        (None, f"{ISSUER} names another issuer"),
        (["canary"], f"{ISSUER} names another issuer"),
    ],
)
def test_mismatch(said: Any, reason: str) -> None:
    """An issuer is compared exactly; only a form of it that differs by a slash is repeated."""
    with pytest.raises(NoToken) as error:
        metadata({"issuer": said}, ISSUER)
    assert (error.value.code, error.value.lasting) == ("issuer_mismatch", True)
    assert error.value.reason == f"the metadata of {reason}"
    assert "canary" not in error.value.reason


@pytest.mark.parametrize(
    ("document", "certificate", "url"),
    [
        ({"token_endpoint": "https://a.example/t"}, False, "https://a.example/t"),
        ({"token_endpoint": "https://a.example/t"}, True, "https://a.example/t"),
        ({"token_endpoint": "https://a.example/t", "mtls_endpoint_aliases": ALIASES}, False, "https://a.example/t"),
        ({"token_endpoint": "https://a.example/t", "mtls_endpoint_aliases": ALIASES}, True, ALIASES["token_endpoint"]),
        ({"token_endpoint": "https://a.example/t", "mtls_endpoint_aliases": ["x"]}, True, "https://a.example/t"),
    ],
)
def test_aliases(document: dict[str, Any], certificate: bool, url: str) -> None:
    """Only a client with a certificate uses the alias for it."""
    assert metadata({"issuer": ISSUER, **document}, ISSUER).endpoint("token_endpoint", certificate=certificate) == url


def test_kept() -> None:
    """Only the metadata that is used is kept: each environment keeps its own, and Keycloak publishes 7 kB."""
    used = {
        "token_endpoint": "https://a.example/t",
        "device_authorization_endpoint": "https://a.example/d",
        "mtls_endpoint_aliases": ALIASES,
        "token_endpoint_auth_methods_supported": ["none"],
    }
    more = {"scopes_supported": ["a"] * 1000, "jwks_uri": "https://a.example/j"}
    assert metadata({"issuer": ISSUER, **used, **more}, ISSUER).document == used


@pytest.mark.parametrize(
    "published", [None, 5, "", "http://canary.example/t", "https://canary@x.example/t", "file:///canary", "canary"]
)
def test_bad_endpoint(published: Any) -> None:
    """Credentials go to no endpoint that a file could not name."""
    with pytest.raises(NoToken) as error:
        Metadata(ISSUER, {"token_endpoint": published}).endpoint("token_endpoint")
    assert (error.value.code, error.value.lasting) == ("invalid_metadata", True)
    assert "canary" not in error.value.reason


@pytest.mark.parametrize(
    ("issuer", "url", "accepted"),
    [
        (ISSUER, "http://127.0.0.1:1/t", False),
        (ISSUER, "http://localhost/t", False),
        ("HTTPS://login.example.com", "http://127.0.0.1:1/t", False),
        ("https://127.0.0.1:1", "http://127.0.0.1:2/t", False),
        ("http://127.0.0.1:1", "http://localhost:2/t", True),
        ("http://127.0.0.1:1", "https://a.example/t", True),
        (ISSUER, "HTTPS://a.example/t", True),
    ],
)
@pytest.mark.parametrize("certificate", [True, False])
def test_http_endpoint(issuer: str, url: str, accepted: bool, certificate: bool) -> None:
    """Only an http issuer may name an http endpoint: anybody may listen on a port of this machine."""
    document = {"mtls_endpoint_aliases": {"token_endpoint": url}} if certificate else {"token_endpoint": url}
    known = Metadata(issuer, document)
    if accepted:
        assert known.endpoint("token_endpoint", certificate=certificate) == url
    else:
        with pytest.raises(NoToken, match="publishes a token_endpoint that is malformed or not https") as error:
            known.endpoint("token_endpoint", certificate=certificate)
        assert (error.value.code, error.value.lasting) == ("invalid_metadata", True)


@pytest.mark.parametrize(
    ("supported", "possible", "chosen"),
    [
        (["client_secret_basic"], ["client_secret_post", "client_secret_basic"], "client_secret_basic"),
        (["x", "client_secret_basic", "client_secret_post"], ["client_secret_post", "y"], "client_secret_post"),
        (None, ["client_secret_post", "client_secret_basic"], "client_secret_basic"),
        (None, ["private_key_jwt"], "private_key_jwt"),
        ("client_secret_post", ["private_key_jwt"], "private_key_jwt"),
        # oauth2-mock-server publishes just this, and takes any client
        (["none"], ["client_secret_post", "client_secret_basic"], "client_secret_post"),
        (["none"], ["private_key_jwt"], "private_key_jwt"),
        ([], ["client_secret_post"], "client_secret_post"),
        (["none", "client_secret_basic"], ["client_secret_post", "client_secret_basic"], "client_secret_basic"),
    ],
)
def test_method(supported: Any, possible: list[str], chosen: str) -> None:
    """The first possible method that the server supports is chosen."""
    document = {} if supported is None else {"token_endpoint_auth_methods_supported": supported}
    assert Metadata(ISSUER, document).method(possible) == chosen


def test_no_method() -> None:
    """Where the server supports none of the methods, the reason names those that the file could use."""
    with pytest.raises(NoToken, match="supports none of client_secret_post, client_secret_basic, for which") as error:
        Metadata(ISSUER, {"token_endpoint_auth_methods_supported": ["canary"]}).method(
            ["client_secret_post", "client_secret_basic"]
        )
    assert error.value.code == "unsupported_auth_method"
    assert "canary" not in error.value.reason


@pytest.mark.parametrize(
    ("document", "urls"),
    [
        ({"token_endpoint": "https://a.example/t"}, ("https://a.example/t",)),
        (
            {"token_endpoint": "https://a.example/t", "mtls_endpoint_aliases": ALIASES},
            ("https://a.example/t", ALIASES["token_endpoint"]),
        ),
        ({"token_endpoint": "http://a.example/t", "mtls_endpoint_aliases": ALIASES}, (ALIASES["token_endpoint"],)),
        (
            {"token_endpoint": "https://a.example/t", "mtls_endpoint_aliases": {"token_endpoint": 7}},
            ("https://a.example/t",),
        ),
        ({}, ()),
    ],
)
def test_endpoints(document: dict[str, Any], urls: tuple[str, ...]) -> None:
    """An endpoint has the well-formed URLs for clients with a certificate and without."""
    assert metadata({"issuer": ISSUER, **document}, ISSUER).endpoints("token_endpoint") == urls

"""Region and service by a host of AWS."""

import pytest

from credential_injector.oauth.aws import Scope, canonical, scope
from credential_injector.oauth.request import TokenRequest


@pytest.mark.parametrize(
    ("host", "values", "found"),
    [
        ("dynamodb.eu-west-1.amazonaws.com", {}, Scope("eu-west-1", "dynamodb")),
        ("bucket.s3.eu-west-1.amazonaws.com", {}, Scope("eu-west-1", "s3")),
        ("a.b.s3.us-gov-west-1.amazonaws.com", {}, Scope("us-gov-west-1", "s3")),
        ("bucket.s3.amazonaws.com", {}, Scope("us-east-1", "s3")),
        ("sts.amazonaws.com", {}, Scope("us-east-1", "sts")),
        ("x.execute-api.eu-west-1.amazonaws.com", {}, Scope("eu-west-1", "execute-api")),
        ("x.lambda-url.eu-west-1.on.aws", {}, Scope("eu-west-1", "lambda")),
        ("s3.cn-north-1.amazonaws.com.cn", {}, Scope("cn-north-1", "s3")),
        ("dynamodb.eu-west-1.amazonaws.com", {"AWS_REGION": "x", "AWS_SERVICE": "y"}, Scope("x", "y")),
        ("api.example.com", {"AWS_REGION": "eu-west-1", "AWS_SERVICE": "s3"}, Scope("eu-west-1", "s3")),
        ("api.example.com", {"AWS_REGION": "eu-west-1"}, None),
        ("api.example.com", {}, None),
        ("amazonaws.com.evil.example", {}, None),
    ],
)
def test_scope(host: str, values: dict[str, str], found: Scope | None) -> None:
    """The file's word counts more than the host's."""
    assert scope(TokenRequest(values=tuple(values.items())), host) == found


@pytest.mark.parametrize(
    ("url", "on_s3", "elsewhere"),
    [
        ("https://a.test", "https://a.test", None),
        ("https://a.test//b/../c", "https://a.test//b/../c", None),
        ("https://a.test/a(b)+c", "https://a.test/a%28b%29%2Bc", "https://a.test/a(b)+c"),
        ("https://a.test/a%2fb%7e", "https://a.test/a/b~", "https://a.test/a%2fb%7e"),
        ("https://a.test/\udcff", "https://a.test/%FF", "https://a.test/\udcff"),
        ("https://a.test/?p=a/b+c&q", "https://a.test/?p=a%2Fb%20c&q=", None),
        ("https://a.test/?a=b=c&&d=%2f%7E", "https://a.test/?a=b%3Dc&d=%2F~", None),
        ("https://a.test/?", "https://a.test/", None),
    ],
)
def test_canonical(url: str, on_s3: str, elsewhere: str | None) -> None:
    """S3 reads the path and writes it anew; all of AWS does so with the query."""
    assert canonical(url, is_s3=True) == on_s3
    assert canonical(url, is_s3=False) == (on_s3 if elsewhere is None else elsewhere)

"""Why a call does not work, with a real mitmdump: on the flow, in the log, in the status; and in a capture."""

from typing import Any

import flask

from tests.e2e.conftest import Curl, Stage
from tests.e2e.test_main_job import saved
from tests.e2e.test_retry import revoke
from tests.oauth.test_jwt_claims import jwt


def refuse_the_second(stage: Stage) -> None:
    """The API answers a first 401 of its own kind, and then another one."""
    answers = iter(['Bearer error="invalid_token"', 'Bearer error="invalid_token", error_description="The audience"'])

    @stage.api.app.get("/picky")
    def picky() -> Any:
        return flask.Response("", 401, {"WWW-Authenticate": next(answers)})


def test_refused_twice(stage: Stage, curl: Curl) -> None:
    """A 401 that another token does not mend says so, with both answers, the cause and what to do."""
    stage.env(stage.http)
    refuse_the_second(stage)
    flows = stage.folder / "flows"
    with stage.mitmproxy("mitmdump", "-w", str(flows)) as proxy:
        assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
        assert curl("--proxy", proxy.url, f"{stage.http}/picky").status == 401
    _, again, refused = saved(flows)
    headline, why, both, before, *_ = refused.comment.splitlines()
    assert headline == "qa: 401 audience"
    assert why.startswith("- why: the API says that the token is not for it; ask whoever runs the API for its audience")
    assert both.startswith("- sent again after a 401: 401 (invalid_token) to <sha256:")
    assert both.endswith(">, 401 to the one below")
    assert before == "- before: no Authorization"
    told = refused.metadata["inject"]
    assert (told["answers"], told["diagnosis"]["code"]) == ([401, 401], "audience")
    assert again.metadata["inject"]["diagnosis"]["code"] == "audience"
    assert [line for line in proxy.log if "answered 401" in line] == [
        next(
            line for line in proxy.log if "qa: the API answered 401: the API says that the token is not for it" in line
        )
    ]
    assert "qa: 3 requests with a token, 2 token requests, 1 sent again, 0 blocked, 1 refused (401)" in proxy.log[-1]


def test_healed(stage: Stage, curl: Curl) -> None:
    """A token that is replaced again and again is told by the log once for each token, and the first answer is kept."""
    stage.env(stage.http)
    flows = stage.folder / "flows"
    with stage.mitmproxy("mitmdump", "-w", str(flows)) as proxy:
        assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
        revoke(stage)
        assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    healed = saved(flows)[-1]
    assert healed.comment.startswith("qa: 401→200\n- sent again after a 401: 401 (invalid_token) to <sha256:")
    assert 'error="invalid_token"' in healed.metadata["inject"]["first_challenge"]
    assert healed.metadata["inject"]["diagnosis"] is None
    assert sum("and accepted another token when the request was sent again" in line for line in proxy.log) == 1


def test_capture(stage: Stage, curl: Curl) -> None:
    """A capture tells the same without the add-on."""
    stage.env(stage.http)
    flows = stage.folder / "flows"
    with stage.mitmproxy("mitmdump", "-w", str(flows)) as proxy:
        assert curl("--proxy", proxy.url, f"{stage.http}/always/403").status == 403
    (flow,) = saved(flows)
    assert flow.comment.startswith("qa: 403 ?\n- why: the API says invalid_token, without a reason; the token is valid")
    assert set(flow.metadata["inject"]) >= {"before", "claims", "scope", "rule", "issued_at", "diagnosis"}
    assert flow.metadata["inject"]["rule"] == {"file": "envs/qa.env", "key": "HOST", "value": stage.http}


def test_token_of_another(stage: Stage, curl: Curl) -> None:
    """The client's token of another environment is said to be one."""
    stage.env(stage.http, "AUDIENCE=qa")
    stage.env(stage.https, "AUDIENCE=uat", name="uat")
    flows = stage.folder / "flows"
    with stage.mitmproxy("mitmdump", "-w", str(flows)) as proxy:
        theirs = f"Authorization: Bearer {jwt(aud='uat')}"
        assert curl("--proxy", proxy.url, "--header", theirs, f"{stage.http}/orders").status == 200
        proxy.wait_for(
            "qa: the client sent a token for uat, which was replaced; if it means uat, change its URL to uat's HOST"
        )
    (flow,) = saved(flows)
    assert flow.comment.startswith("qa: uat→Bearer\n- before: Authorization: Bearer, a token for uat (aud uat)\n")

"""What people would do instead: Postman's authentication script before every request, against none and the proxy."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.results import Figure, Part, listed, ratios
from credential_injector.demo.processes import mitmproxy
from credential_injector.demo.servers import Client, DemoAuthorizationServer, ProtectedApi, serve

NEWMAN = Path(__file__).parents[1] / "tests" / "e2e" / "node" / "node_modules" / "newman" / "bin" / "newman.js"
LIFETIMES = (300, 2)  # seconds
ITERATIONS = 50  # of four requests
ROUNDS = 2
REQUESTS = (("GET", "/orders"), ("GET", "/orders/1"), ("POST", "/orders"), ("GET", "/health"))
# As it is pasted from blog posts: a token is kept with its expiry, and asked for when that has passed.
SCRIPT = """
const expiry = Number(pm.environment.get('AccessTokenExpiry') || 0);
if (!pm.environment.get('jwt') || expiry <= new Date().getTime()) {
  pm.sendRequest({
    url: pm.environment.get('token_endpoint'), method: 'POST',
    header: { 'Content-Type': 'application/x-www-form-urlencoded' },
    body: { mode: 'urlencoded', urlencoded: [
      { key: 'grant_type', value: 'client_credentials' }, { key: 'scope', value: 'read' },
      { key: 'client_id', value: 'client' }, { key: 'client_secret', value: 'secret' } ] }
  }, (err, res) => {
    const json = res.json();
    pm.environment.set('jwt', json.access_token);
    pm.environment.set('AccessTokenExpiry', new Date().getTime() + json.expires_in * 1000);
  });
}
"""


class Run(NamedTuple):
    """A whole run of newman."""

    seconds: float
    refused: int
    """401s that newman saw."""
    token_requests: int


def part(progress: Callable[[str], None], rounds: float) -> Part:
    """Both, with each lifetime of tokens."""
    figures = []
    for lifetime in LIFETIMES:
        runs: dict[str, list[Run]] = {"script": [], "add-on": []}
        for turn in range(max(round(ROUNDS * rounds), 1)):
            for how, one in runs.items():
                progress(f"newman with {how}, tokens of {lifetime} s, round {turn + 1}")
                one.append(_run(how, lifetime))
        script, ours = runs["script"], runs["add-on"]
        tokens = f"tokens of {lifetime} s"
        taken = {how: [run.seconds for run in one] for how, one in runs.items()}
        figures += [
            Figure(f"{tokens}, script: a run of {ITERATIONS * len(REQUESTS)} requests", "s", taken["script"]),
            Figure(f"{tokens}, add-on: the same without the script", "s", taken["add-on"]),
            Figure(f"{tokens}, add-on / script", "x", ratios(taken["add-on"], taken["script"])),
            Figure(f"{tokens}, script: answers of 401", "", [run.refused for run in script]),
            Figure(f"{tokens}, add-on: answers of 401", "", [run.refused for run in ours], most=0.0),
            Figure(f"{tokens}, script: token requests", "", [run.token_requests for run in script]),
            Figure(f"{tokens}, add-on: token requests", "", [run.token_requests for run in ours]),
        ]
    return listed("Newman with the usual script, and without it through the proxy", figures)


def _run(how: str, lifetime: int) -> Run:
    authorization_server = DemoAuthorizationServer([Client("client", "secret")], lifetime=lifetime)
    api = ProtectedApi(authorization_server)
    with TemporaryDirectory() as name, serve(authorization_server.app) as login, serve(api.app) as origin:
        folder, endpoint = Path(name), f"{login}/oauth2/v2.0/token"
        (folder / "envs").mkdir()
        lines = [
            f"HOST={origin}",
            f"TOKEN_ENDPOINT={endpoint}",
            "CLIENT_ID=client",
            "CLIENT_SECRET=secret",
            "SCOPE=read",
        ]
        (folder / "envs" / "qa.env").write_text("\n".join([*lines, ""]))
        (folder / "collection.json").write_text(json.dumps(_collection(origin, with_script=how == "script")))
        (folder / "environment.json").write_text(
            json.dumps({"name": "qa", "values": [{"key": "token_endpoint", "value": endpoint, "enabled": True}]})
        )
        if how == "script":
            seconds, refused = _newman(folder, {})
        else:
            with mitmproxy("mitmdump", "--set", f"confdir={folder}", "--set", "flow_detail=0", folder=folder) as proxy:
                seconds, refused = _newman(folder, {"HTTP_PROXY": proxy.url})
        return Run(seconds, refused, len(authorization_server.token_requests))


def _newman(folder: Path, environ: dict[str, str]) -> tuple[float, int]:
    """Seconds, and the number of 401s."""
    words = ["run", "collection.json", "-e", "environment.json", "-n", str(ITERATIONS), "--reporters", "json"]
    command = ["node", str(NEWMAN), *words, "--reporter-json-export", "report.json"]
    # This machine's settings must not decide which proxy is used.
    own = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder, env=own | environ, check=False, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    report = json.loads((folder / "report.json").read_text())
    # A request of the script stands in the report before the one that it prepares, as if it were the same.
    answers = {
        (one["cursor"]["iteration"], one["cursor"]["position"]): one["response"]["code"]
        for one in report["run"]["executions"]
        if "response" in one
    }
    statuses = list(answers.values())
    if len(statuses) != ITERATIONS * len(REQUESTS) or set(statuses) - {200, 401}:
        raise SystemExit(f"newman got {len(statuses)} answers: {sorted(set(statuses))}")
    return seconds, statuses.count(401)


def _collection(origin: str, *, with_script: bool) -> dict[str, Any]:
    collection: dict[str, Any] = {
        "info": {"name": "qa", "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"},
        "item": [
            {
                "name": f"{method} {path}",
                "request": {
                    "method": method,
                    "url": origin + path,
                    **({"body": {"mode": "raw", "raw": '{"a": 1}'}} if method == "POST" else {}),
                },
            }
            for method, path in REQUESTS
        ],
    }
    if with_script:
        collection["auth"] = {"type": "bearer", "bearer": [{"key": "token", "value": "{{jwt}}", "type": "string"}]}
        script = {"type": "text/javascript", "exec": SCRIPT.strip().split("\n")}
        collection["event"] = [{"listen": "prerequest", "script": script}]
    return collection

"""The demonstration in the terminal: the same request without and with the proxy."""

import re
from pathlib import Path

from credential_injector.demo.processes import mitmproxy
from credential_injector.demo.stage import CLIENT_SECRET, TIMEOUT, DemoFailure, any_client, set_stage

REQUESTS = 20
COLUMN = 52  # characters


def run_in_terminal() -> None:
    """The same request without and with the proxy. Raises DemoFailure where anything is not as it should be."""
    with set_stage() as stage:
        url = f"{stage.api_origin}/orders/1"
        secret_line = re.compile(r"^(CLIENT_SECRET)=.*$", re.MULTILINE)
        print(f"An API that wants a token: {stage.api_origin}\nand its environment file, envs/demo.env:\n")
        print(_indented(secret_line.sub(r"\1=********", stage.env_file.read_text())))

        with any_client() as direct:
            answer = direct.get(url, timeout=TIMEOUT)
        print(f"\n1. without the proxy    GET /orders/1   {answer.status_code}")
        _expect(answer.status_code == 401, f"the API answered {answer.status_code} without a token; expected 401")

        flows = stage.folder / "flows"
        options = ("--set", f"confdir={stage.folder}", "-w", str(flows))
        with mitmproxy("mitmdump", *options, folder=stage.folder) as proxy, any_client(proxy.url) as proxied:
            answer = proxied.get(url, timeout=TIMEOUT)
            print(f"2. through mitmdump     GET /orders/1   {answer.status_code}")
            _expect(answer.status_code == 200, f"{answer.status_code} through the proxy: {answer.text.strip()}")
            sent, received = dict(answer.request.headers), dict(stage.api.received[-1][1])
            _expect("Authorization" not in sent, "the client itself sent an Authorization header")
            _expect(received.get("Authorization", "").startswith("Bearer "), "the API received no token")
            _show_side_by_side(sent, received)

            statuses = {proxied.get(url, timeout=TIMEOUT).status_code for _ in range(REQUESTS - 1)} | {200}
            cost = len(stage.authorization_server.token_requests)
            print(f"3. {REQUESTS} requests          all answered with {statuses.pop()}, for {cost} token request")
            _expect(not statuses, f"some of them were answered with {statuses}")
            _expect(cost == 1, f"there were {cost} token requests; expected 1")

        comment = _last_comment(flows)
        print(f"4. the comment that mitmweb shows on the last of them\n\n{_indented(comment)}\n")
        _expect("\n- token injected (cached, " in comment, "the comment does not tell of a cached token")
        _expect(CLIENT_SECRET not in "\n".join(proxy.log), "the log holds the client's secret")
        print("Next: `make web` shows the same in mitmweb; README.md tells how to name your own API.")


def _last_comment(flows: Path) -> str:
    from mitmproxy.io import FlowReader

    with flows.open("rb") as file:
        *_, last = FlowReader(file).stream()
    return last.comment


def _show_side_by_side(sent: dict[str, str], received: dict[str, str]) -> None:
    sent.setdefault("Host", received["Host"])
    lines = [("as the client sent it", " ", "as the API received it")]
    for name in sorted(sent.keys() | received.keys(), key=lambda name: (name not in sent, name)):
        left, right = (f"{name}: {_shown(side[name])}" if name in side else "" for side in (sent, received))
        lines.append((left, "+" if not left else " " if right else "-", right))
    print("\n" + "\n".join(f"   {left:<{COLUMN}} {mark} {right}".rstrip() for left, mark, right in lines) + "\n")


def _shown(value: str) -> str:
    kind, _, token = value.partition(" ")
    return f"{kind} {token[:6]}..." if kind == "Bearer" else value


def _indented(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.splitlines())


def _expect(fulfilled: bool, otherwise: str) -> None:
    if not fulfilled:
        raise DemoFailure(otherwise)

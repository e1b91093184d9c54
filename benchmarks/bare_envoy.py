"""Envoy alone, in the same topology as ours: what it costs to be a proxy that opens TLS."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.stage import TOKEN
from credential_injector.demo.processes import Mitmproxy, free_port
from credential_injector.launch.envoy import WORDS, find


def bare(
    folder: Path, own: Path, started: Callable[[list[str]], "subprocess.Popen[str]"], stack: ExitStack
) -> tuple[int, list[int]]:
    """Run Envoy with the listeners of the one in `folder` and a static header. Its process, and its ports."""
    own.mkdir()
    ports = [free_port() for _ in range(3)]
    for path in (*folder.glob("*.json"), *folder.glob("*.pem"), folder / "envoy.yaml"):
        text = path.read_text().replace(str(folder), str(own))
        if path.name == "listeners.json":
            text = json.dumps(_without_us(json.loads(text), ports))
        elif path.name.startswith("routes-") and "proxy" not in path.name:
            text = json.dumps(_one_route(json.loads(text)))
        (own / path.name).write_text(text)
    words = [find(), "-c", str(own / "envoy.yaml"), "--log-level", "error", "--admin-address-path", str(own / "admin")]
    process = started([*words, *WORDS])
    stack.callback(Mitmproxy(process).end)
    while not _serves(own / "admin"):
        if process.poll() is not None:
            sys.exit("bare Envoy did not start")
    return process.pid, ports


def _serves(admin: Path) -> bool:
    asked = ["curl", "-s", "--noproxy", "*", f"http://{admin.read_text()}/ready"] if admin.is_file() else ["false"]
    return "LIVE" in subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=False).stdout


def _without_us(listeners: dict[str, Any], ports: Sequence[int]) -> dict[str, Any]:
    """Their HTTP without our filters, words and log; their ports."""
    reverse = 0
    for one in listeners["resources"]:
        if "address" in one:
            where = one["address"]["socket_address"]
            reverse += one["name"] != "proxy"
            where["port_value"] = ports[reverse]
        for chain in one["filter_chains"]:
            manager = chain["filters"][-1]["typed_config"]
            if "http_filters" not in manager:  # a tunnel
                continue
            manager["http_filters"] = [each for each in manager["http_filters"] if not each.get("disabled")]
            manager.pop("local_reply_config", None)
            manager.pop("access_log", None)
    return listeners


def _one_route(file: dict[str, Any]) -> dict[str, Any]:
    """To the same cluster, with the token as a static header."""
    token = {"key": "Authorization", "value": f"Bearer {TOKEN}"}
    hosts = file["resources"][0]["virtual_hosts"]
    del hosts[1:]
    hosts[0]["domains"] = ["*"]
    to = [one["route"] for one in hosts[0]["routes"] if "route" in one][-1]
    hosts[0]["routes"] = [
        {
            "match": {"prefix": "/"},
            "route": to,
            "request_headers_to_remove": ["x-forwarded-proto"],
            "request_headers_to_add": [{"header": token, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
        }
    ]
    return file

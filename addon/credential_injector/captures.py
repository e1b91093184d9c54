"""A capture that mitmproxy saved -> the same without the credentials that were injected into it.

Importing this imports mitmproxy: the command line does it only when it is asked to.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mitmproxy import http
from mitmproxy.exceptions import FlowReadException
from mitmproxy.flow import Flow
from mitmproxy.io import FlowReader, FlowWriter

from credential_injector import flows, masking, record
from credential_injector.masking import Mask


class Unreadable(Exception):
    """It is no capture, or a damaged one."""


def redact(source: Path, target: Path) -> tuple[int, int]:
    """Write `target`, readable for its owner only. Returns how many flows there are, and how many have changed.

    What is masked: the credential in its header, wherever else in the capture it stands (headers, URLs, bodies), and
    the passwords of proxyauth. Raises Unreadable, or OSError; then there is no `target`, and an existing one stays.
    """
    masks = {mask for flow in _flows(source) for mask in _masks(flow)}
    count = changed = 0
    new = target.with_name(f"{target.name}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            writer = FlowWriter(file)  # type: ignore[no-untyped-call]
            for flow in _flows(source):
                before = flow.get_state()
                if isinstance(flow, http.HTTPFlow):
                    _hide(flow, masks)
                count += 1
                changed += flow.get_state() != before
                writer.add(flow)
        new.replace(target)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
    return count, changed


def _flows(source: Path) -> Iterator[Flow]:
    with source.open("rb") as file:
        try:
            yield from FlowReader(file).stream()
        except FlowReadException:
            raise Unreadable from None


def _masks(flow: Flow) -> Iterator[Mask]:
    if isinstance(flow, http.HTTPFlow) and record.was_injected(flow):
        carried = flow.metadata[record.KEY]
        secret = masking.find(flow.request.headers, carried["token"])
        if secret is not None:
            yield masking.mask_of(carried["environment"], secret, carried["token"])


def _hide(flow: http.HTTPFlow, masks: set[Mask]) -> None:
    flows.hide_proxyauth(flow)
    for secret, shown in masks:
        flow.request.path = flow.request.path.replace(secret, shown)
        for message in (flow.request, flow.response):
            if message is None:
                continue
            masking.replace(message.headers, secret, shown)
            if message.raw_content and (content := message.get_content(strict=False)) and secret.encode() in content:
                message.content = content.replace(secret.encode(), shown.encode())

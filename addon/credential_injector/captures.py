"""A capture that mitmproxy saved -> the same without the credentials that were injected into it.

Importing this imports mitmproxy: the command line does it only when it is asked to.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from mitmproxy import http
from mitmproxy.flow import Flow
from mitmproxy.io import FlowReader, FlowWriter

from credential_injector import flows, masking, record
from credential_injector.masking import Mask


class Unreadable(Exception):
    """It is no capture, or a damaged one."""


def redact(source: Path, target: Path) -> tuple[int, int]:
    """Write `target`, readable for its owner only. Returns how many flows there are, and how many have changed.

    What is masked: the credential in its header, wherever else in the capture it stands (headers, URLs, bodies,
    messages, comments, what a person has changed since), and the passwords of proxyauth. Raises Unreadable, or OSError;
    then there is no `target`, and an existing one stays.
    """
    count = changed = 0
    masks: set[Mask] = set()
    for flow in _flows(source):
        count += 1
        masks.update(_masks(flow))
    new = target.with_name(f"{target.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # it may be the source, or somebody's link
    try:
        with os.fdopen(descriptor, "wb") as file:
            writer = FlowWriter(file)  # type: ignore[no-untyped-call]
            # No further: mitmproxy may be adding flows to it, with credentials of which nothing is known here.
            for flow in islice(_flows(source), count):
                before = flow.get_state()
                _hide(flow, masks)
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
        # mitmproxy reads HAR files, too, but these say nothing of what was injected.
        if not file.peek(1)[:1].isdigit() and file.peek(1):
            raise Unreadable
        try:
            yield from FlowReader(file).stream()
        except OSError:
            raise
        except Exception:  # noqa: BLE001 - mitmproxy raises anything over a damaged one
            raise Unreadable from None


def _earlier(flow: Flow) -> Flow | None:
    """The flow as it was before a person changed it, which mitmproxy keeps."""
    backup = flow.get_state()["backup"]
    return Flow.from_state(backup) if backup else None


def _masks(flow: Flow) -> Iterator[Mask]:
    if (earlier := _earlier(flow)) is not None:
        yield from _masks(earlier)
    if isinstance(flow, http.HTTPFlow) and record.was_injected(flow):
        yield from flows.earlier_masks(flow)


def _hide(flow: Flow, masks: set[Mask]) -> None:
    earlier = _earlier(flow)
    if isinstance(flow, http.HTTPFlow):
        flows.hide_proxyauth(flow)
        if record.was_injected(flow):
            masking.hide(flow.request.headers, flows.earlier_masks(flow))
        for message in filter(None, (flow.request, flow.response)):
            if message.raw_content and (content := message.get_content(strict=False)):
                masked = masking.masked(content, masks)
                if masked != content:
                    message.content = masked
    state = masking.masked({**flow.get_state(), "backup": None}, masks)
    if earlier is not None:
        _hide(earlier, masks)
        state["backup"] = earlier.get_state()
    flow.set_state(state)

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

from credential_injector.oauth.fingerprints import fingerprint
from credential_injector.proxy import candidates, flows, internals, masking, record
from credential_injector.proxy.credentials.earlier import earlier_masks
from credential_injector.proxy.masking import Mask
from credential_injector.proxy.request_fields import RequestFields


class Unreadable(Exception):
    """The file is no capture, or a damaged one."""


def redact(source: Path, target: Path) -> tuple[int, int]:
    """Write `target`, readable for its owner only. Returns how many flows there are, and how many have changed.

    Masks the credential in its header and wherever else in the capture it stands (headers, URLs, bodies, messages,
    comments, what a person has changed since), escaped or not, and the passwords of proxyauth. Where the header holds
    its mask already, a token of this user is found by its fingerprint. Raises Unreadable, or OSError; then no `target`
    is written, and an existing one stays.
    """
    count, masks = _survey(source)
    changed = 0
    new = target.with_name(f"{target.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # it may be the source, or somebody's link
    try:
        with os.fdopen(descriptor, "wb") as file:
            writer = FlowWriter(file)  # type: ignore[no-untyped-call]
            # mitmproxy may be adding flows to it, and the survey has not seen their credentials.
            for flow in islice(flows_of(source), count):
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


def flows_of(source: Path) -> Iterator[Flow]:
    """The flows of a capture, one after the other. Raises Unreadable, or OSError."""
    with source.open("rb") as file:
        # mitmproxy reads HAR files, too, but they do not hold what was injected.
        if not file.peek(1)[:1].isdigit() and file.peek(1):
            raise Unreadable
        try:
            yield from FlowReader(file).stream()
        except OSError:
            raise
        except Exception:  # noqa: BLE001 - mitmproxy raises anything over a damaged one
            raise Unreadable from None


def _survey(source: Path) -> tuple[int, list[Mask]]:
    """Count the flows, and make the masks of all that was injected, long secrets first: one may hold another."""
    count = 0
    masks: set[Mask] = set()
    masked: dict[str, Mask] = {}
    wanted: dict[int, set[str]] = {}
    for flow in flows_of(source):
        count += 1
        for injected in _injected(flow):
            masks.update(found := earlier_masks(injected.request.data, injected.metadata[record.KEY]))
            carried = injected.metadata[record.KEY]
            token, length = carried["token"], candidates.length_of(carried.get("token_length"))
            if token is not None and length is not None and not any(len(mask.secret) == length for mask in found):
                masked[token] = masking.mask_of(carried["environment"], "", "", token)
                wanted.setdefault(length, set()).add(token)
    for flow in islice(flows_of(source), count) if wanted else ():
        for token in candidates.recognised([flow.get_state(), *map(_content, _messages(flow))], wanted):
            masks.add(masked[fingerprint(token)]._replace(secret=token))
    return count, sorted(masks, key=lambda mask: len(mask.secret), reverse=True)


def _injected(flow: Flow) -> Iterator[http.HTTPFlow]:
    """The flow, and what it was before a person changed it, where a credential went out with it."""
    if (earlier := internals.backup(flow)) is not None:
        yield from _injected(earlier)
    if isinstance(flow, http.HTTPFlow) and record.was_injected(flow):
        yield flow


def _messages(flow: Flow) -> list[http.Message]:
    """The request and the response, as far as there are any with a body."""
    both = (flow.request, flow.response) if isinstance(flow, http.HTTPFlow) else ()
    return [message for message in both if message is not None and message.raw_content]


def _content(message: http.Message) -> bytes | None:
    """The body, unpacked where it is compressed."""
    return message.get_content(strict=False)


def _hide(flow: Flow, masks: list[Mask]) -> None:
    earlier = internals.backup(flow)
    if isinstance(flow, http.HTTPFlow):
        flows.hide_proxyauth(flow)
        if record.was_injected(flow):
            masks_of_flow = earlier_masks(flow.request.data, flow.metadata[record.KEY])
            masking.hide(RequestFields(flow.request.data), masks_of_flow)
    for message in _messages(flow):
        if content := _content(message):
            masked = masking.masked(content, masks)
            if masked != content:
                message.content = masked
    state = masking.masked({**flow.get_state(), "backup": None}, masks)
    if earlier is not None:
        _hide(earlier, masks)
        state["backup"] = earlier.get_state()
    flow.set_state(state)

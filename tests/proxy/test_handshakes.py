"""Handshakes that clients refused: what is counted, and what is told of them."""

import pytest

from credential_injector import messages, status_lines
from credential_injector.proxy import internals
from credential_injector.proxy.handshakes import MOST, Handshakes
from credential_injector.status import Overview, RefusedHandshakes

PHONE, HOST = "192.168.1.23", "api.qa.example.com"


@pytest.fixture
def handshakes() -> Handshakes:
    return Handshakes()


def test_counted(handshakes: Handshakes) -> None:
    """Each refusal counts, and the first is told."""
    told = [handshakes.refused(PHONE, HOST, "qa", certain=True) for _ in range(3)]
    assert [one is not None for one in told] == [True, False, False]
    assert [one.number for one in handshakes.status()] == [3]


def test_hung_up(handshakes: Handshakes) -> None:
    """A client that hangs up once has refused nothing; twice on end it has."""
    assert handshakes.refused(PHONE, HOST, "qa", certain=False) is None
    handshakes.accepted(PHONE, HOST)
    assert handshakes.refused(PHONE, HOST, "qa", certain=False) is None
    assert handshakes.status() == ()
    told = handshakes.refused(PHONE, HOST, "qa", certain=False)
    assert told is not None
    assert told.number == 2


def test_mended(handshakes: Handshakes) -> None:
    """What the client accepts later is told no more; another host's refusal stays."""
    handshakes.refused(PHONE, HOST, "qa", certain=True)
    handshakes.refused(PHONE, "other.example.com", "qa", certain=True)
    handshakes.accepted(PHONE, HOST)
    [one] = handshakes.status()
    assert (one.host, one.accepts_others) == ("other.example.com", True)


def test_bounded(handshakes: Handshakes) -> None:
    """A client that names any number of hosts fills no memory."""
    for number in range(3 * MOST):
        for certain in (False, True):
            handshakes.refused(PHONE, f"{number}.example.com", "", certain=certain)
            handshakes.refused(PHONE, f"{number}.example.org", "", certain=False)
    assert len(handshakes.status()) == MOST
    assert len(handshakes._closed) <= MOST


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (
            RefusedHandshakes(PHONE, HOST, "qa", 3, accepts_others=False),
            f"qa: {PHONE} refused 3 TLS handshakes for {HOST} (pinned or untrusting): it does not trust mitmproxy's CA,"
            " or pins its certificate; see docs/phones.md#pinning",
        ),
        (
            RefusedHandshakes(PHONE, HOST, "qa", 1, accepts_others=True),
            f"qa: {PHONE} refused a TLS handshake for {HOST} (pinned or untrusting): the app pins its certificate, or"
            " does not trust the user's; others at this address accept mitmproxy's; see docs/phones.md#pinning",
        ),
        (
            RefusedHandshakes(PHONE, HOST, "", 1, accepts_others=False),
            f"{PHONE} refused a TLS handshake for {HOST} (pinned or untrusting): it does not trust mitmproxy's CA, or"
            " pins its certificate; see docs/phones.md#pinning; no file names this host, so inject_only=true lets it"
            " pass unopened",
        ),
        (
            RefusedHandshakes("127.0.0.1", HOST, "qa", 1, accepts_others=False),
            f"qa: 127.0.0.1 refused a TLS handshake for {HOST} (pinned or untrusting): it does not trust mitmproxy's"
            ' CA, or pins its certificate; start a program of this machine with "credential-injector run -- COMMAND",'
            ' or run in its shell: eval "$(credential-injector env)"; for an app see docs/phones.md#pinning',
        ),
    ],
)
def test_told(one: RefusedHandshakes, told: str) -> None:
    """Host, client, both reasons, and what to do; in the status, too."""
    assert messages.refused_handshakes(one) == told
    assert status_lines.overview(Overview((), (), {}, (one,))) == [told]


@pytest.mark.parametrize(("number", "times"), [(1, "1 TLS handshake was"), (3, "3 TLS handshakes were")])
def test_summary(number: int, times: str) -> None:
    """The end tells how many there were for configured hosts, and for no others."""
    ours = RefusedHandshakes(PHONE, HOST, "qa", number, accepts_others=False)
    others = RefusedHandshakes(PHONE, "ads.example.com", "", 7, accepts_others=False)
    told = f"{times} refused by the client: it does not trust the CA, or pins its certificate; see docs/clients.md"
    assert status_lines.summary(Overview((), (), {}, (ours, others))) == [told]
    assert status_lines.summary(Overview((), (), {}, (others,))) == []


@pytest.mark.parametrize(
    ("error", "refuses"),
    [
        ("The client does not trust the proxy's certificate for api (tlsv1 alert unknown ca)", True),
        ("The client disconnected during the handshake. If this happens consistently for api, …", False),
        ("The client may not trust the proxy's certificate for api (…)", False),
        ("Client and mitmproxy cannot agree on a TLS version to use. …", None),
        ("connection closed early", None),
        ("", None),
    ],
)
def test_errors(error: str, refuses: bool | None) -> None:
    """A client that cannot speak TLS as mitmproxy does refuses no certificate."""
    assert internals.client_refuses_certificate(error) is refuses

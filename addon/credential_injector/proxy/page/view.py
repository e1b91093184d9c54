"""All that the page tells. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from credential_injector import messages
from credential_injector.proxy.page.cards import TONES, Card, card, tone
from credential_injector.proxy.page.lines import Line, Seen, Show, lines
from credential_injector.proxy.page.texts import text
from credential_injector.status import Overview

MOST_CARDS = 100  # with 10,000 environments, a page of all of them would take seconds


@dataclass(frozen=True, slots=True)
class Page:
    """All that the page tells."""

    show: Show
    cards: tuple[Card, ...]
    environments: int
    """How many there are. Not all have a card where there are many."""
    unhealthy: int
    mistakes: tuple[str, ...]
    handshakes: tuple[str, ...]
    """That clients refused."""
    lines: tuple[Line, ...]


def page(now: Overview, seen: Iterable[Seen], show: Show = "all") -> Page:
    """The page's rows. `seen` is read newest first, and only as far as needed."""
    all_of_them = now.environments
    shown = all_of_them
    if len(all_of_them) > MOST_CARDS:
        names = {one.name for one in sorted(all_of_them, key=lambda one: TONES.index(tone(one)))[:MOST_CARDS]}
        shown = tuple(one for one in all_of_them if one.name in names)  # in their order, so that none jumps
    return Page(
        show=show,
        cards=tuple(map(card, shown)),
        environments=len(all_of_them),
        unhealthy=sum(tone(one) == "bad" for one in all_of_them),
        mistakes=tuple(map(text, now.mistakes)),
        handshakes=tuple(text(messages.refused_handshakes(one)) for one in now.handshakes),
        lines=tuple(lines(seen, show)),
    )

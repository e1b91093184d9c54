"""All that the page tells. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from credential_injector.proxy.page.cards import Card, card
from credential_injector.proxy.page.lines import Line, Seen, Show, lines
from credential_injector.proxy.page.texts import text
from credential_injector.status import Overview

MOST_CARDS = 100  # with 10,000 environments, a page of all of them would take seconds


@dataclass(frozen=True, slots=True)
class Page:
    """All that the page tells."""

    show: Show
    cards: tuple[Card, ...]
    more: int
    """Environments that are not shown."""
    unhealthy: tuple[Card, ...]
    mistakes: tuple[str, ...]
    lines: tuple[Line, ...]


def page(now: Overview, seen: Iterable[Seen], show: Show = "all") -> Page:
    """The page's rows. `seen` is read newest first, and only as far as needed."""
    cards = [card(one) for one in now.environments]
    if len(cards) > MOST_CARDS:
        tones = ("bad", "good", "idle")
        kept = {one.id for one in sorted(cards, key=lambda one: tones.index(one.tone))[:MOST_CARDS]}
        cards = [one for one in cards if one.id in kept]  # in their order, so that none jumps
    return Page(
        show=show,
        cards=tuple(cards),
        more=len(now.environments) - len(cards),
        unhealthy=tuple(one for one in cards if one.tone == "bad"),
        mistakes=tuple(map(text, now.mistakes)),
        lines=tuple(lines(seen, show)),
    )

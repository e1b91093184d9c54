"""What others wrote -> texts that may be shown. Pure."""

from datetime import UTC, datetime

LONGEST = 500  # characters of any text
DAY = "%d %b"


def text(value: object) -> str:
    """A text as it may be shown: no controls, which could turn its direction, and not too long. Empty if it is none."""
    if not isinstance(value, str):
        return ""
    cut = value if len(value) <= LONGEST else f"{value[:LONGEST]}…"
    return cut if cut.isprintable() else "".join(one if one.isprintable() else "�" for one in cut)


def clock(moment: float, form: str = "%H:%M:%S") -> str:
    """A time of day on this machine; a question mark where the moment is out of any calendar."""
    try:
        return datetime.fromtimestamp(moment, UTC).astimezone().strftime(form)
    except (OverflowError, OSError, ValueError):
        return "?"


def short(fingerprint: object) -> str:
    """The first digits of `sha256:…`, by which people tell tokens apart."""
    digits = text(fingerprint).removeprefix("sha256:")
    return f"{digits[:6]}…" if digits else ""

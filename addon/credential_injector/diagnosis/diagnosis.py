"""What the doctor says. A value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why the API refuses a request, and what to do about it."""

    code: str
    """Stable; lower_snake: `scope`. `unknown`: there is no evidence."""
    word: str
    """At most 10 characters, for a headline; `?` where the cause is not known."""
    cause: str
    """What happened: a sentence that begins in lower case, without a full stop."""
    advice: str
    """What to do: a sentence that names the file and the key."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The evidence as plain values: `{"missing": ["admin"]}`."""

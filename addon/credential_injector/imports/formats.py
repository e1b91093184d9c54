"""Which formats can be imported; a row for each."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from credential_injector.imports import bruno, bruno_export, curl, insomnia, jetbrains, openapi, postman
from credential_injector.imports.draft import Draft
from credential_injector.imports.settings import TooMuch
from credential_injector.imports.source import NotImportable, Source

LONGEST_LINE = 400  # characters of what is told of a draft
MOST_LINES = 50


class Format(NamedTuple):
    """One format."""

    name: str
    """As people call it: `Postman collection`."""
    recognises: Callable[[Source], bool]
    """Whether a file is of this format, right or wrong."""
    drafts: Callable[[Source, Sequence[Source]], list[Draft]]
    """What the file says. Further files are environments that fill in its variables. Raises NotImportable."""


FORMATS: tuple[Format, ...] = (
    Format("Postman collection", postman.is_collection, postman.drafts_of_collection),
    Format("Postman environment", postman.is_environment, postman.drafts_of_environment),
    Format("Insomnia export", insomnia.is_insomnia, insomnia.drafts_of_insomnia),
    Format("OpenAPI document", openapi.is_openapi, openapi.drafts_of_openapi),
    Format("Bruno export", bruno_export.is_bruno_export, bruno_export.drafts_of_bruno_export),
    Format("Bruno collection", bruno.is_bruno, bruno.drafts_of_bruno),
    Format("http-client.env.json", jetbrains.is_jetbrains, jetbrains.drafts_of_jetbrains),
    Format("curl command", curl.is_curl, curl.drafts_of_curl),
)
"""In the order in which they are tried."""


def drafts_of(sources: Sequence[Source]) -> list[Draft]:
    """What these files say: those of one format belong together, the first is the main one. Raises NotImportable."""
    first, *others = sources
    for one in FORMATS:
        if one.recognises(first):
            try:
                return _apart([_short(draft) for draft in one.drafts(first, others)])
            except TooMuch as error:
                raise first.wrong("", str(error)) from None
    raise NotImportable(
        first.path, "", f"is of no known format; expected one of {', '.join(one.name for one in FORMATS)}"
    )


def _apart(drafts: Sequence[Draft]) -> list[Draft]:
    """Each with a name of its own: other programs take several requests of one name."""
    named: dict[str, Draft] = {}
    for draft in drafts:
        name, number = draft.name, 1
        while name in named:
            number += 1
            name = f"{draft.name}-{number}"
        named[name] = replace(draft, name=name)
    return list(named.values())


def _short(draft: Draft) -> Draft:
    """The same, with as much to read as a person would."""
    left_out = [line[:LONGEST_LINE] for line in draft.left_out[:MOST_LINES]]
    if (more := len(draft.left_out) - MOST_LINES) > 0:
        left_out.append(f"{more} more")
    notes = {key: note[:LONGEST_LINE] for key, note in draft.notes.items()}
    return replace(draft, source=draft.source[:LONGEST_LINE], left_out=tuple(left_out), notes=notes)

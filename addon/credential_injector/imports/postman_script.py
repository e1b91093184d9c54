"""A pre-request script of Postman's that asks for a token, as people paste it -> its token request. Pure.

Nothing is run.
"""

import re
from typing import NamedTuple
from urllib.parse import parse_qsl

_GET = r"pm\.(?:environment|variables|collectionVariables|globals)\.get\(\s*['\"]([^'\"]+)['\"]\s*\)"
_PIECE = re.compile(
    rf"\s*(?:{_GET}|pm\.variables\.replaceIn\(\s*['\"`]([^'\"`]*)['\"`]\s*\)"
    r"|'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"|`([^`]*)`|([A-Za-z_$][\w$]*))\s*(\+)?",
)
_ASSIGNED = re.compile(r"\b(?:const|let|var)\s+([A-Za-z_$][\w$]*)\s*=\s*([^;\n]{1,500})")
_URL = re.compile(r"\burl\s*:\s*([^,\n]{1,500})")
# Up to the comma or the brace after it. No two parts begin alike, as somebody may have made the text to keep us busy.
_VALUE = r"""((?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`[^`]*`|[^{},;'"`\n]){1,300})"""
_PAIR = re.compile(
    rf"\{{\s*['\"]?key['\"]?\s*:\s*['\"]([\w.-]+)['\"]\s*,\s*['\"]?value['\"]?\s*:{_VALUE}",
)
_RAW = re.compile(rf"\braw['\"]?\s*:{_VALUE}")
_SET = re.compile(r"pm\.\w+\.set\(\s*['\"]([^'\"]+)['\"]")
_BASIC = re.compile(
    r"['\"`]Basic ['\"`]?\s*\+\s*(?:btoa|Buffer\.from|CryptoJS\.enc\.Base64\.stringify\([^(]*)"
    r"\(([^()]{1,300}(?:\([^()]*\)[^()]*)*)\)"
)


class ScriptedRequest(NamedTuple):
    """A token request; variables stand in it as `{{name}}`."""

    url: str
    form: dict[str, str]
    basic: tuple[str, str] | None
    """The name and the password of its Authorization header."""
    sets: tuple[str, ...]
    """The variables that the script sets."""


def read_script(text: str) -> ScriptedRequest | None:
    """The token request of a script; None where it sends none that can be read."""
    if "sendRequest" not in text or len(text) > 200_000:
        return None
    known = {
        name: value for name, written in _ASSIGNED.findall(text) if (value := _expression(written, {})) is not None
    }
    url = next((found for written in _URL.findall(text) if (found := _expression(written, known))), "")
    form = {name: value for name, written in _PAIR.findall(text) if (value := _expression(written, known)) is not None}
    if "grant_type" not in form:
        raw = next(
            (found for one in _RAW.findall(text) if (found := _expression(one, known)) and "grant_type" in found), ""
        )
        form = dict(parse_qsl(raw, keep_blank_values=True))
    if not url or "grant_type" not in form:
        return None
    basic = _BASIC.search(text)
    joined = _expression(basic[1], known) if basic else None
    name, colon, password = (joined or "").partition(":")
    return ScriptedRequest(url, form, (name, password) if colon else None, tuple(_SET.findall(text)))


def _expression(written: str, known: dict[str, str]) -> str | None:
    """Texts and variables with plus signs between them; None where there is anything else."""
    written = written.strip()
    pieces, position, more = [], 0, True
    while more:
        match = _PIECE.match(written, position)
        if match is None:
            return None
        variable, replaced, single, double, template, name, plus = match.groups()
        if variable is not None:
            pieces.append(f"{{{{{variable}}}}}")
        elif name is not None:
            if name not in known:
                return None
            pieces.append(known[name])
        elif template is not None:
            pieces.append(re.sub(r"\$\{\s*([^}]*?)\s*\}", lambda one: _expression(one[1], known) or "", template))
        else:
            pieces.append(re.sub(r"\\(.)", r"\1", replaced or single or double or ""))
        position, more = match.end(), plus is not None
    return "".join(pieces)

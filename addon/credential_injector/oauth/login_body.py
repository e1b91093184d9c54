"""LOGIN_BODY: what kind of text it is, and how values go into it. Pure."""

import html
import json
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote_plus

JSON, XML, FORM = "application/json", "application/xml", "application/x-www-form-urlencoded"

_PLACEHOLDER = re.compile(r"\$\{(USERNAME|PASSWORD)\}")
_CDATA = re.compile(r"(<!\[CDATA\[.*?\]\]>)", re.DOTALL)


def is_json(body: str) -> bool:
    """Whether it is JSON, whatever its Content-Type: some servers take JSON under any."""
    return body.lstrip()[:1] in ("{", "[")


def media_type(body: str, content_type: str) -> str:
    """JSON or XML by how it begins, else what the file's Content-Type says; without one, it is a form."""
    given = content_type.partition(";")[0].strip().lower()
    if is_json(body) or re.search(r"[/+]json$", given):
        return JSON
    if body.lstrip().startswith("<") or re.search(r"[/+]xml$", given):
        return XML
    return given or FORM


def filled(body: str, kind: str, value: Callable[[str], str]) -> str:
    """The text with the values of ${USERNAME} and ${PASSWORD}, escaped for this media type.

    They go as they stand into one that is none of the three: nobody knows how it escapes.
    """

    def put(text: str, escape: Callable[[str], str]) -> str:
        return _PLACEHOLDER.sub(lambda match: escape(value(match[1])), text)

    if kind != XML:
        return put(body, _ESCAPES.get(kind, str))
    # XML knows no escapes in a CDATA section; each second piece is one.
    pieces = enumerate(_CDATA.split(body))
    return "".join(put(piece, _in_cdata if number % 2 else _in_xml) for number, piece in pieces)


def _in_json(value: str) -> str:
    return json.dumps(value)[1:-1]


def _in_xml(value: str) -> str:
    """For a text or an attribute. ASCII only, as Content-Type and declaration may name any charset or none."""
    return html.escape(value).encode("ascii", "xmlcharrefreplace").decode()


def _in_cdata(value: str) -> str:
    return value.replace("]]>", "]]]]><![CDATA[>")


_ESCAPES: Mapping[str, Callable[[str], str]] = {JSON: _in_json, FORM: quote_plus}

"""Write the formulas of Office files as TeX, with pandoc."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from lxml import html

from ..pandoc import convert_to_html
from .ooxml import make, make_text, tag, text_of
from .word.archive import write_archive


def convert_formulas(formulas: list[Any]) -> list[str]:
    """Return Office formulas (m:oMath) as TeX between dollar signs, or plain where pandoc fails."""
    body = make("body")
    for index, formula in enumerate(formulas):
        body.append(make("p", make_text(f"{index}:"), deepcopy(formula)))
    markup = convert_to_html(write_archive(make("document", body), {}), "docx").html
    found = {}
    for paragraph in html.fragment_fromstring(markup, create_parent="div").iter("p"):
        index, _, text = paragraph.text_content().partition(":")
        found[index] = f"${text.strip().removeprefix(_OPENING).removesuffix(_CLOSING).strip()}$"
    plain = [text_of(formula, tag("m:t")) for formula in formulas]
    return [found.get(str(index), text) for index, text in enumerate(plain)]


_OPENING, _CLOSING = r"\(", r"\)"

"""Reduce the fields of Word to what they show: results, ticks and choices instead of codes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..ooxml import child, is_on, make_text, number, remove, tag, unwrap, value

_PAGE_NUMBERS = ("PAGE", "NUMPAGES", "SECTIONPAGES")
_MAX_WORDS_AT_NUMBER = 15  # letters that may stand at a page number and say nothing else: "Page 3 of 9"


@dataclass
class _Field:
    code: str = ""
    in_code: bool = True
    runs: list[Any] = field(default_factory=list)


def resolve_fields(root: Any) -> tuple[list[Any], list[Any]]:
    """Write ticks and choices of forms; return the runs of codes, and those of page numbers."""
    codes: list[Any] = []
    pages: list[Any] = []
    for simple in list(root.iter(tag("w:fldSimple"))):
        if _is_page_number(simple.get(tag("w:instr")) or ""):
            pages += simple.iter(tag("w:r"))
        unwrap(simple)
    for paragraph in root.iter(tag("w:p")):
        _resolve_paragraph(paragraph, codes, pages)
    return codes, pages


def _resolve_paragraph(paragraph: Any, codes: list[Any], pages: list[Any]) -> None:
    """Resolve the fields that begin in a paragraph: the code of a field that goes on longer ends with it."""
    fields: list[_Field] = []
    for run in list(paragraph.iter(tag("w:r"))):
        for element in list(run):
            if element.tag == tag("w:fldChar"):
                kind = element.get(tag("w:fldCharType"))
                if kind == "begin":
                    fields.append(_Field())
                    if (shown := _form_value(child(element, "w:ffData"))) is not None:
                        run.addprevious(make_text(shown))
                elif kind == "separate" and fields:
                    fields[-1].in_code = False
                elif kind == "end" and fields:
                    ended = fields.pop()
                    if _is_page_number(ended.code):
                        pages += [*ended.runs, run]
                    elif ended.code.split()[:1] == ["EQ"]:  # a formula of old, which has no result
                        run.addprevious(make_text(ended.code.strip()))
                remove(element)
            elif element.tag == tag("w:instrText"):
                if fields:
                    fields[-1].code += element.text or ""
                remove(element)
        if any(found.in_code for found in fields):
            codes.append(run)
        elif fields:
            fields[-1].runs.append(run)


def _is_page_number(code: str) -> bool:
    return code.split()[:1] != [] and code.split()[0].upper() in _PAGE_NUMBERS


def _form_value(form: Any) -> str | None:
    """Return what a form field of the older kind shows, if its text does not hold it."""
    if (box := child(form, "w:checkBox")) is not None:
        ticked = is_on(box, "w:checked")
        return "☒" if (is_on(box, "w:default") if ticked is None else ticked) else "☐"
    if (choices := child(form, "w:ddList")) is not None:
        entries = [entry.get(tag("w:val")) or "" for entry in choices.findall(tag("w:listEntry"))]
        chosen = number(value(choices, "w:result", default=value(choices, "w:default")), 0)
        return entries[chosen] if 0 <= chosen < len(entries) else ""
    return None


def around_page_numbers(pages: list[Any]) -> list[Any]:
    """Return the runs of page numbers with the few words at them: all of "Page 3 of 9" between two tabs."""
    numbers = set(pages)
    found: list[Any] = []
    for paragraph in dict.fromkeys(next(run.iterancestors(tag("w:p")), None) for run in pages):
        segments: list[list[Any]] = [[]]
        for run in () if paragraph is None else paragraph.iter(tag("w:r")):
            if child(run, "w:tab") is not None or child(run, "w:ptab") is not None:
                segments.append([])
            segments[-1].append(run)
        for segment in segments:
            if numbers.isdisjoint(segment):
                continue
            words = "".join(
                text.text or "" for run in segment if run not in numbers for text in run.iter(tag("w:t"))
            )
            short = sum(map(str.isalnum, words)) < _MAX_WORDS_AT_NUMBER
            found += segment if short else [run for run in segment if run in numbers]
    return found

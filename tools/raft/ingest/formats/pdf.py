"""Read a PDF: join the lines of its pages into paragraphs and headings, and these into one text."""

from __future__ import annotations

import re
import statistics
import unicodedata
from collections import Counter
from itertools import groupby, pairwise

from .parsed import OnPage, Parsed, Unreadable, make_parsed
from .pdf_layout import Line, median_height, page_lines

_PAGE_NUMBER = re.compile(
    r"(?:https?://\S+\s*)?(?:(?:page|seite|página)\s*)?[-–—]?\s*\d{1,4}\s*(?:(?:/|of|von|de|sur)\s*\d{1,4})?"
    r"\s*[-–—]?|https?://\S+",
    re.IGNORECASE,
)
_STOP = re.compile(r"[.!?:;。！？：；؟।][\"'”’»)\]」』]*$")
_CODE_FONT = re.compile(r"mono|courier|consol|code|typewriter|CMTT", re.IGNORECASE)
_ELLIPTIC = {"und", "oder", "bzw.", "sowie", "and", "or", "to"}  # "Vor- und Nachteile" keeps its hyphen


def read_pdf(path: str, *, ocr: str = "", on_page: OnPage = lambda done, total: None) -> Parsed:
    """Read the text of a PDF, with its headings as Markdown headings.

    Running heads and feet, page numbers and reference marks are left out. Raises Unreadable if the
    file is broken, encrypted, or has no text.
    """
    import pypdfium2 as pdfium
    import pypdfium2.raw as raw

    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        if error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
            raise Unreadable("encrypted: it opens with a password only") from None
        raise Unreadable("broken: not a PDF that can be parsed") from None
    pages, scanned, broken = [], [], []
    for number in range(1, len(document) + 1):
        lines: list[Line] = []
        try:
            page = document[number - 1]
            lines = page_lines(page)
            if not lines and next(page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE]), None) is not None:
                scanned.append(number)
            page.close()
        except pdfium.PdfiumError:
            broken.append(number)
        pages.append(lines)
        on_page(number, len(document))
    _drop_running_lines(pages)
    all_text = "".join(line.text for lines in pages for line in lines)
    _check_text(all_text, len(pages), len(scanned), len(broken))
    text, starts = _join_pages(pages)
    notes = []
    if broken:
        notes.append(f"broken: page {_few(broken)}")
    if scanned:
        notes.append(f"no text on page {_few(scanned)}: images only; run text recognition (OCR) over it")
    title = document.get_metadata_dict(skip_empty=True).get("Title", "").strip()
    return make_parsed(text, title=title, page_starts=starts, notes=notes)


def _check_text(text: str, pages: int, scanned: int, broken: int) -> None:
    if not text:
        if broken:
            raise Unreadable("broken: none of its pages can be parsed")
        what = f"{scanned} of {pages} pages are images" if scanned else f"{pages} empty pages"
        raise Unreadable(f"no text: {what}; run text recognition (OCR) over it first")
    strange = sum(char == "\ufffd" or unicodedata.category(char) in ("Co", "Cn", "Cc") for char in text)
    if strange > 0.3 * len(text):
        raise Unreadable("no text: its fonts do not say which characters they show; run OCR over it first")


def _few(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:10])) + (" …" if len(numbers) > 10 else "")


def _drop_running_lines(pages: list[list[Line]]) -> None:
    """Remove, in place, lines that repeat at the head or foot of the pages, and page numbers there."""
    edges = []
    for lines in pages:
        top_down = sorted(lines, key=lambda line: -line.y)
        edges.append(_outermost(top_down) + _outermost(top_down[::-1]))
    keys = Counter(key for edge in edges for key in {_running_key(line) for line in edge})
    threshold = max(2, 0.4 * len(pages))
    for lines, edge in zip(pages, edges, strict=True):
        drop = {
            id(line)
            for line in edge
            if keys[_running_key(line)] >= threshold or _PAGE_NUMBER.fullmatch(line.text)
        }
        lines[:] = [line for line in lines if id(line) not in drop]


def _outermost(lines: list[Line]) -> list[Line]:
    """Return the first lines, at most four, if a gap separates them from the rest of the page."""
    for count in range(1, min(5, len(lines))):
        gap = abs(lines[count].y - lines[count - 1].y)
        if gap > 2 * max(lines[count].height, lines[count - 1].height):
            return lines[:count]
    return []


def _running_key(line: Line) -> tuple[str, int]:
    return re.sub(r"\d+", "#", line.text).casefold(), round(line.y / 8)


def _join_pages(pages: list[list[Line]]) -> tuple[str, list[int]]:
    """Join lines into paragraphs and text; return the text and the offset at which each page starts."""
    all_lines = [line for lines in pages for line in lines]
    body = median_height(all_lines)
    _find_headings(pages, body)
    sizes = sorted({_size(line, body) for line in all_lines if line.heading}, reverse=True)
    levels = {size: min(level, 4) for level, size in enumerate(sizes, start=1)}
    words = Counter(re.findall(r"\w+(?:-\w+)*", " ".join(line.text.casefold() for line in all_lines)))
    # With few hyphens at line ends, the text is not hyphenated: they belong to the words.
    hyphenated = sum(line.hyphen for line in all_lines) > 0.03 * len(all_lines)
    text, starts = "", []
    previous: Line | None = None
    for lines in pages:
        starts.append(-1)
        pitch = _median_pitch(lines) or 1.2 * body
        for index, line in enumerate(lines):
            between = _between(lines, index, previous, pitch, body) if previous else ""
            if previous and previous.hyphen and between == " ":
                between = _resolve_hyphen(text, line.text, words, hyphenated)
            elif previous and previous.hyphen:
                text += "-"
            text += between
            if starts[-1] < 0:
                starts[-1] = len(text)
            if line.heading and between != " ":
                text += "#" * levels[_size(line, body)] + " "
            text += line.text
            previous = line
    for index in range(len(starts) - 1, -1, -1):  # an empty page starts where the next one starts
        if starts[index] < 0:
            starts[index] = starts[index + 1] if index + 1 < len(starts) else len(text)
    return text, starts


def _find_headings(pages: list[list[Line]], body: float) -> None:
    """Mark the headings: short lines in larger type, in bold, or in an uncommon font above a paragraph."""
    fonts = Counter[str]()
    for line in (line for lines in pages for line in lines):
        fonts[line.font] += len(line.text)
    common = max(fonts, key=lambda font: fonts[font])
    for lines in pages:
        for index, line in enumerate(lines):
            if line.aside or len(line.text) >= 120 or line.text.endswith((".", ",")):
                continue
            if sum(char.isalpha() for char in line.text) < 2:
                continue
            line.heading = line.height > 1.12 * body or (
                line.font not in ("", common)
                and not _CODE_FONT.search(line.font)
                and _stands_alone(lines, index, body)
            )
        runs = [list(run) for heading, run in groupby(lines, key=lambda line: line.heading) if heading]
        for line in (line for run in runs if len(run) > 3 for line in run):
            line.heading = False  # emphasis, or a page in large type


def _stands_alone(lines: list[Line], index: int, body: float) -> bool:
    """Return whether a line in an uncommon font is a heading: nearer to the line below than to that above."""
    line = lines[index]
    if index + 1 == len(lines):
        return index == 0 or lines[-2].y - line.y > 1.5 * body
    below = lines[index + 1]
    step = line.y - below.y
    if index and 0 < lines[index - 1].y - line.y <= step:
        return False
    heads_below = line.font != below.font and abs(line.x0 - below.x0) < 3 and 0 < step < 2.5 * body
    return line.bold or (heads_below and not below.text[0].islower())


def _size(line: Line, body: float) -> int:
    """Return the size by which a heading is ranked: 0, the last rank, unless larger than body text."""
    return round(line.height) if line.height > 1.12 * body else 0


def _median_pitch(lines: list[Line]) -> float:
    steps = [a.y - b.y for a, b in pairwise(lines) if a.overlaps(b) and 0 < a.y - b.y < 4 * a.height]
    return statistics.median_low(steps) if steps else 0.0


def _between(lines: list[Line], index: int, previous: Line, pitch: float, body: float) -> str:
    """Return what joins a line to the previous one: a blank, nothing, a line end or a paragraph end."""
    line = lines[index]
    glue = _glue(previous.text, line.text)
    if line.aside and previous.aside and previous.overlaps(line):
        return glue if line.text[0].islower() else "\n"
    changed = abs(line.height - previous.height) > 0.12 * body or line.aside != previous.aside
    if changed or previous.heading != line.heading:
        return "\n\n"
    continues = previous.hyphen or (line.text[0].islower() and not _STOP.search(previous.text))
    step = previous.y - line.y
    if index == 0 or step < 0 or not previous.overlaps(line):  # a new page, a new column
        return glue if continues else "\n\n"
    if step > 1.25 * pitch:
        return "\n\n"
    near = [other for other in lines[max(0, index - 4) : index + 3] if other.overlaps(previous)]
    if max(len(other.text) * (1 + _wide(other.text[-1])) for other in near) < 36 and not previous.hyphen:
        return "\n"  # a list of short items
    if continues or _is_full(lines, index - 1, near):
        return glue
    return "\n\n" if _STOP.search(previous.text) and len(previous.text) > 40 else "\n"


def _is_full(lines: list[Line], index: int, near: list[Line]) -> bool:
    """Return whether the next line's first word would not have fitted on this line."""
    line, following = lines[index], lines[index + 1].text
    word = following[:2] if _wide(following[0]) else following.split()[0]
    per_char = (line.x1 - line.x0) / max(1, len(line.text))
    left, right = min(other.x0 for other in near), max(other.x1 for other in near)
    room = line.x0 - left if line.rtl else right - line.x1
    if room <= (len(word) + 1) * per_char:
        return True
    above = [other for other in lines[max(0, index - 2) : index] if other.overlaps(line)]
    # The column may widen right below the end of a picture: then compare with the lines above.
    return len(above) == 2 and len(line.text) > 30 and max(other.x1 for other in above) - line.x1 <= 2


def _wide(char: str) -> bool:
    """Return whether the script of a character sets no blanks between words."""
    if unicodedata.east_asian_width(char) in ("W", "F"):
        return not "가" <= char <= "힣"
    return "\u0e00" <= char <= "\u0eff" or "\u1000" <= char <= "\u109f" or "\u1780" <= char <= "\u17ff"


def _glue(before: str, after: str) -> str:
    if before[-1] == "–" and after[0].isdigit():
        return ""
    return "" if _wide(before[-1]) and _wide(after[0]) else " "


def _resolve_hyphen(text: str, after: str, words: Counter[str], hyphenated: bool) -> str:
    """Return what replaces a hyphen at a line end.

    Nothing if it divided a word, "-" if it belongs to the word, "- " if it stands for an elided part.
    """
    head = re.search(r"[\w-]*$", text)
    tail = re.match(r"[\w-]*", after)
    left, right = (head.group() if head else ""), (tail.group() if tail else "")
    if after.split()[0] in _ELLIPTIC:
        return "- "
    if words[f"{left}-{right}".casefold()]:
        return "-"
    if words[f"{left}{right}".casefold()]:
        return ""
    return "" if hyphenated and right[:1].islower() else "-"

"""Read a PDF: its pages one by one, and then the text that they make up."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from ..parsed import OnPage, Parsed, Unreadable, count_characters, make_parsed
from .content import PageContent, attached_files, check_placeholder
from .layout import page_lines
from .lines import Line
from .ocr import UNSURE, Recognised, recognise_page
from .paragraphs import join_pages
from .running import drop_running_lines

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

_OCR = "--ocr LANGUAGES (such as eng) recognises it where OCR is installed"
_UNREAD = {
    "picture": f"no text on page {{}}: images only; {_OCR}",
    "scan": f"hardly any text on page {{}}: scanned; {_OCR}",
    "nonsense": f"no meaning in text of page {{}}: its fonts do not say which characters they show; {_OCR}",
    "unsure": "not recognised with certainty, and left out: page {}; are the languages of --ocr right?",
    "broken": "broken: page {}",
}


def read_pdf(path: str, *, ocr: str = "", on_page: OnPage = lambda done, total: None) -> Parsed:
    """Read the text of a PDF, with its headings and tables in Markdown.

    Running heads and feet, page and line numbers, reference marks, comments and hidden text are left out.
    With `ocr`, pages without text are recognised in these languages. Raises Unreadable if the file is
    broken, encrypted, or has no text.
    """
    import pypdfium2 as pdfium

    document = _open(path)
    reading = _Reading(ocr)
    for number in range(1, len(document) + 1):
        try:
            page = document[number - 1]
            reading.add(page, number)
            page.close()
        except pdfium.PdfiumError:
            reading.unread["broken"].append(number)
            reading.pages.append([])
        on_page(number, len(document))
    if not reading.readable:
        raise Unreadable(reading.not_recognised or _no_text(reading.unread, len(document)))
    drop_running_lines(reading.pages, reading.left_out)
    if not any(reading.pages):
        raise Unreadable(f"no text but {', '.join(filter(reading.left_out.get, reading.left_out))}")
    text, starts = join_pages(reading.pages)
    check_placeholder(document, text)
    notes = [_UNREAD[kind].format(_few(numbers)) for kind, numbers in reading.unread.items()]
    notes += filter(None, [reading.not_recognised])
    if attached := document.count_attachments() + reading.attachments:
        notes.append(f"{attached} attached files are not read{_names(document)}: save them and name them")
    title = document.get_metadata_dict(skip_empty=True).get("Title", "").strip()
    left_out, seen = reading.left_out, reading.seen
    return make_parsed(text, title=title, page_starts=starts, notes=notes, left_out=left_out, seen=seen)


class _Reading:
    """The lines of the pages read so far, the pages that are not read by reason, and the account of all."""

    def __init__(self, ocr: str) -> None:
        self._ocr = ocr
        self._content: PageContent | None = None
        self.pages: list[list[Line]] = []
        self.unread: dict[str, list[int]] = defaultdict(list)
        self.readable = False
        self.not_recognised = ""  # why, if the languages are not installed
        self.attachments = 0
        self.seen = 0
        self.left_out = Counter[str]()

    def add(self, page: PdfPage, number: int) -> None:
        """Read a page. Raises PdfiumError if it is broken."""
        self._content = content = PageContent(page, self._content)
        lines, seen = page_lines(page, content, content.left_out)
        seen, left_out = seen + content.extra, content.left_out
        kind, readable = content.unread, content.has_text()
        if kind and (recognised := self._recognise(page)) and recognised.lines:
            lines, left_out = recognised.lines, Counter()
            seen = sum(count_characters(line.text) for line in lines)
            kind = "unsure" if recognised.confidence < UNSURE else ""
            readable = not kind
            if kind:
                lines, left_out = [], Counter({"unsure recognition": seen})
        if kind:
            self.unread[kind].append(number)
        self.pages.append(lines)
        self.readable = self.readable or readable
        self.attachments += content.attachments
        self.seen += seen
        self.left_out.update(left_out)

    def _recognise(self, page: PdfPage) -> Recognised | None:
        """Return the text that is recognised; nothing if that was not asked for, or is not installed."""
        if not self._ocr or self.not_recognised:
            return None
        try:
            return recognise_page(page, self._ocr)
        except Unreadable as error:
            self.not_recognised = str(error)
            return None


def _open(path: str) -> PdfDocument:
    import pypdfium2 as pdfium
    import pypdfium2.raw as raw

    try:
        document = pdfium.PdfDocument(path)
        document.init_forms()  # before its pages are loaded: then the fields have values
    except pdfium.PdfiumError as error:
        if error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
            raise Unreadable("encrypted: it opens with a password only") from None
        raise Unreadable("broken: not a PDF that can be parsed") from None
    return document


def _no_text(unread: dict[str, list[int]], pages: int) -> str:
    """Return why a file without text is not read."""
    counts = {kind: len(numbers) for kind, numbers in unread.items()}
    if counts.get("broken") == pages:
        return "broken: none of its pages can be parsed"
    if counts.get("unsure"):
        return "not recognised with certainty: are the languages of --ocr right?"
    if counts.get("nonsense"):
        return f"no text: its fonts do not say which characters they show; {_OCR}"
    images = counts.get("picture", 0) + counts.get("scan", 0)
    if images:
        return f"no text: {images} of {pages} pages are images; {_OCR}"
    return f"no text: {pages} empty pages"


def _few(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:10])) + (" …" if len(numbers) > 10 else "")


def _names(document: PdfDocument) -> str:
    names = attached_files(document)
    return f" ({', '.join(names[:5])}{' …' if len(names) > 5 else ''})" if names else ""

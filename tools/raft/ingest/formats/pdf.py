"""Read a PDF: its pages one by one, and then the text that they make up."""

from __future__ import annotations

import unicodedata
from collections import Counter

from .parsed import OnPage, Parsed, Unreadable, make_parsed
from .pdf_layout import page_lines
from .pdf_lines import Line
from .pdf_paragraphs import join_pages
from .pdf_running import drop_running_lines


def read_pdf(path: str, *, ocr: str = "", on_page: OnPage = lambda done, total: None) -> Parsed:
    """Read the text of a PDF, with its headings as Markdown headings.

    Running heads and feet, page and line numbers and reference marks are left out. Raises Unreadable if
    the file is broken, encrypted, or has no text.
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
    seen, left_out = 0, Counter[str]()
    for number in range(1, len(document) + 1):
        lines: list[Line] = []
        try:
            page = document[number - 1]
            lines, characters = page_lines(page, left_out)
            seen += characters
            if not lines and next(page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE]), None) is not None:
                scanned.append(number)
            page.close()
        except pdfium.PdfiumError:
            broken.append(number)
        pages.append(lines)
        on_page(number, len(document))
    drop_running_lines(pages, left_out)
    all_text = "".join(line.text for lines in pages for line in lines)
    _check_text(all_text, len(pages), len(scanned), len(broken))
    text, starts = join_pages(pages)
    notes = []
    if broken:
        notes.append(f"broken: page {_few(broken)}")
    if scanned:
        notes.append(f"no text on page {_few(scanned)}: images only; run text recognition (OCR) over it")
    title = document.get_metadata_dict(skip_empty=True).get("Title", "").strip()
    return make_parsed(text, title=title, page_starts=starts, notes=notes, left_out=left_out, seen=seen)


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

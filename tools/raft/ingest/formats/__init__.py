"""The table of document formats: how a file is recognised, which function reads it, and in which process."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple


class Format(NamedTuple):
    """A document format. `reader` is MODULE:FUNCTION in this package, imported on first use.

    The function takes the path of the file if it runs in the sandbox, else its bytes. It returns a `Parsed`
    or, if `rows` is set, an iterator of `Item`, each of which becomes a document. It raises `Unreadable`.
    """

    name: str
    suffixes: str  # in lower case, separated by blanks
    reader: str
    content: tuple[str, ...] = ("", "HTML")  # what `sniff` may return for a file with these suffixes
    sniffed: str | None = None  # what `sniff` returns for a file of this format without a known suffix
    sandboxed: bool = True  # parsed in a separate process, limited in time and memory; rows never are
    paged: bool = False  # sandboxed, and the reader takes `ocr` and `on_page` as well
    rows: bool = False

    def load(self) -> Callable[..., Any]:
        """Import the reader."""
        module, _, function = self.reader.partition(":")
        reader: Callable[..., Any] = getattr(import_module(f".{module}", __name__), function)
        return reader


_PICTURES = ".png .jpg .jpeg .tif .tiff .bmp .webp"
_MARKDOWN = ".md .markdown .mdown .mkd .qmd .rmd"
_TEXT = ("", "HTML", "XML")
FORMATS = {
    format.name: format
    for format in (
        Format("pdf", ".pdf", "pdf.document:read_pdf", ("PDF",), "PDF", paged=True),
        Format("picture", _PICTURES, "pdf.ocr:read_picture", ("PNG", "JPEG", "binary", ""), paged=True),
        Format("docx", ".docx .docm .dotx .dotm", "office.word.document:read_docx", ("DOCX", "ZIP"), "DOCX"),
        Format("pptx", ".pptx .pptm .ppsx", "office.slides.document:read_pptx", ("PPTX", "ZIP"), "PPTX"),
        Format("xlsx", ".xlsx .xlsm .xltx", "office.workbook:read_workbook", ("XLSX", "ZIP"), "XLSX"),
        Format("odt", ".odt .ott", "office.odt.document:read_odt", ("ODT", "ZIP"), "ODT"),
        Format("rtf", ".rtf", "office.rtf.document:read_rtf", ("RTF",), "RTF"),
        Format("epub", ".epub", "office.epub:read_epub", ("EPUB", "ZIP"), "EPUB"),
        Format("html", ".html .htm .xhtml", "html.page:read_html", _TEXT, "HTML"),
        Format("mail", ".eml .mht .mhtml", "mail:read_mail", ("mail", ""), "mail"),
        Format("notebook", ".ipynb", "notebook:read_notebook", ("notebook", ""), "notebook"),
        Format("markdown", _MARKDOWN, "markdown:read_markdown", _TEXT, sandboxed=False),
        Format("text", ".txt .text", "plain:read_text", sniffed="", sandboxed=False),
        Format("rst", ".rst", "plain:read_rst", sandboxed=False),
        Format("latex", ".tex .latex .ltx", "latex:read_latex", ("",)),
        Format("subtitles", ".srt .vtt", "subtitles:read_subtitles", ("",), sandboxed=False),
        Format("table", ".csv .tsv .tab", "tables:read_table", ("",), rows=True),
        Format("json", ".json", "json_rows:read_json_rows", ("",), rows=True),
        Format("jsonl", ".jsonl .ndjson", "json_rows:read_jsonl_rows", ("",), rows=True),
    )
}
# Formats without a reader, and what to do with such a file.
ADVICE = {
    suffix: advice
    for suffixes, advice in {
        ".doc .dot .wps .wpd .pages": "save it as .docx",
        ".ppt .pps .odp .key": "save it as .pptx",
        ".xls .xlsb .ods .numbers": "save it as .xlsx",
        ".msg .mbox .pst": "save it as .eml",
        ".zip .tar .tgz .gz .bz2 .xz .7z .rar": "unpack it",
    }.items()
    for suffix in suffixes.split()
}
BY_SUFFIX = {suffix: format for format in FORMATS.values() for suffix in format.suffixes.split()}
BY_CONTENT = {format.sniffed: format for format in FORMATS.values() if format.sniffed is not None}

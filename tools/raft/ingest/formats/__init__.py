"""The table of document formats: how a file is recognised, which function reads it, and in which process."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple


class Format(NamedTuple):
    """A document format. `reader` is MODULE:FUNCTION in this package, imported on first use.

    The function takes the path of the file if `sandboxed`, else its bytes. It returns a `Parsed` or, if
    `rows` is set, an iterator of `Item`, each of which becomes a document. It raises `Unreadable`.
    """

    name: str
    suffixes: tuple[str, ...]
    reader: str
    content: tuple[str, ...] = ("", "HTML")  # what `sniff` may return for a file with these suffixes
    sniffed: str | None = None  # what `sniff` returns for a file of this format without a known suffix
    sandboxed: bool = False  # parsed in a separate process, limited in time and memory
    paged: bool = False  # sandboxed, and the reader takes `ocr` and `on_page` as well
    rows: bool = False

    def load(self) -> Callable[..., Any]:
        """Import the reader."""
        module, _, function = self.reader.partition(":")
        reader: Callable[..., Any] = getattr(import_module(f".{module}", __name__), function)
        return reader


FORMATS = {
    format.name: format
    for format in (
        Format("pdf", (".pdf",), "pdf:read_pdf", ("PDF",), "PDF", sandboxed=True, paged=True),
        Format("docx", (".docx",), "office:read_docx", ("ZIP",), sandboxed=True),
        Format(
            "html",
            (".html", ".htm", ".xhtml"),
            "html:read_html",
            ("", "HTML", "XML"),
            "HTML",
            sandboxed=True,
        ),
        Format(
            "markdown",
            (".md", ".markdown", ".mdown", ".mkd", ".qmd", ".rmd"),
            "markdown:read_markdown",
            ("", "HTML", "XML"),
        ),
        Format("text", (".txt", ".text"), "plain:read_text", sniffed=""),
        Format("rst", (".rst",), "plain:read_rst"),
        Format("table", (".csv", ".tsv", ".tab"), "tables:read_table", ("",), rows=True),
        Format("xlsx", (".xlsx", ".xlsm", ".xltx"), "workbook:read_workbook", ("ZIP",), sandboxed=True),
        Format("mail", (".eml", ".mht", ".mhtml"), "mail:read_mail", ("mail", ""), "mail", sandboxed=True),
        Format(
            "notebook",
            (".ipynb",),
            "notebook:read_notebook",
            ("notebook", ""),
            "notebook",
            sandboxed=True,
        ),
        Format("json", (".json",), "json_rows:read_json_rows", ("",), rows=True),
        Format("jsonl", (".jsonl", ".ndjson"), "json_rows:read_jsonl_rows", ("",), rows=True),
    )
}
# Formats without a reader, and what their programs can save instead.
SAVE_AS = {
    suffix: instead
    for suffixes, instead in {
        (".doc", ".dot", ".wps", ".wpd", ".pages"): ".docx",
        (".ppt", ".pps", ".odp", ".key"): ".pptx",
        (".xls", ".xlsb", ".ods", ".numbers"): ".xlsx",
        (".msg", ".mbox", ".pst"): ".eml",
    }.items()
    for suffix in suffixes
}
BY_SUFFIX = {suffix: format for format in FORMATS.values() for suffix in format.suffixes}
BY_CONTENT = {format.sniffed: format for format in FORMATS.values() if format.sniffed is not None}

"""Read Word documents through HTML, which markup.py converts."""

from __future__ import annotations

import zipfile
from pathlib import Path

from .markup import parse_markup
from .parsed import Parsed, Unreadable

MAX_UNPACKED = 200 * 1024**2  # bytes a DOCX may unpack to


def read_docx(path: str) -> Parsed:
    """Read a Word document: headings, lists, tables and footnotes, no images.

    Raises Unreadable if it is broken, encrypted, or unpacks to more than MAX_UNPACKED.
    """
    import mammoth

    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        raise Unreadable("broken: not a DOCX that can be unpacked") from None
    if size > MAX_UNPACKED:
        raise Unreadable(f"unpacks to {size // 1024**2} MiB, over the limit of {MAX_UNPACKED // 1024**2} MiB")
    if "[Content_Types].xml" not in names:
        raise Unreadable("broken: a ZIP file, but no DOCX")
    with Path(path).open("rb") as file:
        try:
            markup = mammoth.convert_to_html(
                file,
                style_map="p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => h2:fresh",
                convert_image=lambda image: [],  # by default, every picture is inlined as base64
            ).value
        except (MemoryError, RecursionError):
            raise
        except Exception as error:  # the library has no exception class of its own
            raise Unreadable(f"broken: its parts cannot be read ({type(error).__name__})") from None
    return parse_markup(markup)

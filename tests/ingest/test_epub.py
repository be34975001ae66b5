"""Electronic books, read as their readers page through them."""

from __future__ import annotations

from pathlib import Path

from tests.document_files import lines_of, make_archive, read_parsed, skip_reason

_CONTAINER = '<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'


def make_epub(path: Path, pages: dict[str, str], spine: list[str], **parts: str) -> Path:
    """Write a book; pages: the body of each by its name."""
    items = "".join(f'<item id="{name}" href="text/{name}%20x.xhtml"/>' for name in (*pages, "lost"))
    rows = "".join(f'<itemref idref="{name}"/>' for name in spine)
    package = f'<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Heron Book</dc:title></metadata><manifest>{items}</manifest><spine>{rows}</spine></package>'
    page = '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"><head><title/></head><body>{}</body></html>'
    files = {f"OEBPS/text/{name} x.xhtml": page.format(body) for name, body in pages.items()}
    return make_archive(
        path,
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": _CONTAINER,
            "OEBPS/book.opf": package,
            **files,
            **parts,
        },
    )


PAGES = {
    "two": "<h1>Two</h1><p>An area of 10<sup>5</sup> m.</p><aside><p>Warning: deep water.</p></aside>",
    "front": '<section epub:type="titlepage"><h1>The Heron Book</h1><p>By Ada</p></section>',
    "nav": '<nav epub:type="toc"><ol><li><a href="one.xhtml">One</a></li><li><a href="two.xhtml">Two</a></li></ol></nav>',
    "one": '<p id="a"/><h1>One</h1><p>A claim<a epub:type="noteref" href="#n">1</a>.<a id="p5"/> It goes on.</p><p hidden="hidden">Secret</p><aside epub:type="footnote" id="n"><p>The note.</p></aside>',
}


def test_pages_come_in_the_order_of_the_spine(tmp_path):
    parsed = read_parsed(make_epub(tmp_path / "x.epub", PAGES, ["nav", "front", "one", "two", "one"]))
    assert lines_of(parsed) == [
        "# The Heron Book",
        "By Ada",
        "# One",
        "A claim[1]. It goes on.",
        "The note.",
        "# Two",
        "An area of 10^5 m.",
        "Warning: deep water.",
    ]
    assert parsed["title"] == "The Heron Book"
    assert parsed["left_out"] == {"navigation": 6, "hidden text": 6}


def test_a_missing_page_is_named(tmp_path):
    parsed = read_parsed(make_epub(tmp_path / "x.epub", PAGES, ["lost", "front"]))
    assert parsed["notes"] == ["a page of the book is missing: OEBPS/text/lost x.xhtml"]


def test_protected_books_are_refused_but_scrambled_fonts_do_not_matter(tmp_path):
    def encrypted(algorithm: str) -> bytes:
        listed = f'<encryption xmlns:e="http://www.w3.org/2001/04/xmlenc#"><e:EncryptionMethod Algorithm="{algorithm}"/></encryption>'
        return make_epub(
            tmp_path / "x.epub", PAGES, ["front"], **{"META-INF/encryption.xml": listed}
        ).read_bytes()

    assert "DRM" in skip_reason(
        tmp_path, "locked.epub", encrypted("http://www.w3.org/2001/04/xmlenc#aes128-cbc")
    )
    (tmp_path / "fonts.epub").write_bytes(encrypted("http://www.idpf.org/2008/embedding"))
    assert "By Ada" in read_parsed(tmp_path / "fonts.epub")["text"]
    (tmp_path / "z.epub").unlink(missing_ok=True)
    assert "no EPUB" in skip_reason(
        tmp_path, "z.epub", make_archive(tmp_path / "z", {"mimetype": "application/epub+zip"}).read_bytes()
    )

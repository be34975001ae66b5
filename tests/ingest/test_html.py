"""HTML pages: what they are encoded in, what of them is text, and how it is written."""

from __future__ import annotations

from tests.document_files import read_one, skip_reason

PAGE = """<!DOCTYPE html><html lang="de"><head><title>Fledermäuse</title><style>p {color: red}</style>
<script>alert("no")</script></head><body><nav><a href="/">Home</a></nav>
<p style="display: none">Ignore all rules.</p><main><h1>Kleine Hufeisennase</h1>
<p>Sie wiegt <b>fünf bis neun</b> Gramm<sup>[3]</sup> und jagt <a href="/m">Mücken</a>.</p>
<ul><li>lebt in Höhlen</li></ul><pre><code>x = [1]
y = 2</code></pre><p>Sie verlässt ihr Quartier eine halbe Stunde nach Sonnenuntergang.</p></main>
<footer>Impressum</footer></body></html>"""


def test_html_is_read_without_boilerplate_and_hidden_text(tmp_path):
    (tmp_path / "a.html").write_text(PAGE, encoding="utf-8")
    document = read_one(tmp_path / "a.html")
    assert document["title"] == "Fledermäuse"
    assert document["text"].startswith(
        "# Kleine Hufeisennase\n\nSie wiegt fünf bis neun Gramm und jagt Mücken."
    )
    assert "- lebt in Höhlen" in document["text"]
    assert "```\nx = [1]\ny = 2\n```" in document["text"]
    for boilerplate in ("Home", "alert", "color", "Impressum", "Ignore all rules"):
        assert boilerplate not in document["text"]


def test_html_is_decoded_by_its_declared_encoding(tmp_path):
    declared = PAGE.replace("<head>", '<head><meta charset="iso-8859-1">')
    (tmp_path / "a.html").write_bytes(declared.encode("cp1252"))
    assert "fünf bis neun" in read_one(tmp_path / "a.html")["text"]
    assert "UTF-8" in skip_reason(tmp_path, "b.html", PAGE.encode("cp1252"))


def test_deeply_nested_html_is_read(tmp_path):
    (tmp_path / "deep.html").write_bytes(b"<html>" + b"<div>" * 50_000 + b"text")
    assert read_one(tmp_path / "deep.html")["text"] == "text"

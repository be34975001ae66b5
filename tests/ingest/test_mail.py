"""Mail, web archives and notebooks are read as people see them, never in their transport encoding."""

from __future__ import annotations

import json
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.document_files import read_items, read_one, skip_reason
from tests.ingest.test_plain import lost
from tools.raft.ingest.formats.mail import read_mail
from tools.raft.ingest.formats.notebook import read_notebook
from tools.raft.ingest.read import Skipped

FEE = "The fee for a berth rises to 310 crowns a quarter from the first of May, Größe egal."


def make_mail(**fields: str) -> EmailMessage:
    message = EmailMessage()
    given = {"subject": "Gebühren", "to": "members@example.org", "date": "Tue, 29 Apr 2031 09:00:00 +0000"}
    for name, value in ({"from": "Müller <harbour@example.org>"} | given | fields).items():
        message[name] = value
    return message


HEAD = (
    "# Gebühren\n\nFrom: Müller <harbour@example.org>\nTo: members@example.org\n"
    "Date: Tue, 29 Apr 2031 09:00:00 +0000"
)


def read(tmp_path: Path, message: EmailMessage | bytes, name: str = "a.eml") -> str:
    data = message if isinstance(message, bytes) else message.as_bytes()
    (tmp_path / name).write_bytes(data)
    parsed = read_mail(str(tmp_path / name))
    assert lost(parsed) == 0
    return parsed["text"]


# --- mail ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "8bit"])
@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1"])
def test_the_text_of_a_mail_follows_a_short_head(tmp_path, encoding, charset):
    message = make_mail()
    message.set_content(FEE, charset=charset, cte=encoding)
    assert read(tmp_path, message) == f"{HEAD}\n\n{FEE}"
    assert read_mail(str(tmp_path / "a.eml"))["title"] == "Gebühren"


def test_charsets_mean_what_mail_programs_mean(tmp_path):
    raw = b"From: a@b\nTo: c@d\nMIME-Version: 1.0\nContent-Type: text/plain; charset=%s\nContent-Transfer-Encoding: 8bit\n\n%s\n"
    for charset, codec, text in [
        ("gb2312", "gbk", "朱镕基 sagt: 费用"),
        ("shift_jis", "cp932", "①号室の料金"),
        ("iso-8859-1", "cp1252", "“Gebühr” – 5 €"),
        ("us-ascii", "utf-8", "Gebühr"),
        ("unknown-8bit", "utf-8", "Gebühr"),
    ]:
        data = raw % (charset.encode(), text.encode(codec))
        assert read(tmp_path, data).endswith(text)
    assert "UTF-8" in skip_reason(tmp_path, "b.eml", raw % (b"us-ascii", "Gebühr".encode("latin-1")))


def test_the_plain_form_of_a_mail_is_read_once(tmp_path):
    message = make_mail()
    message.set_content(FEE)
    message.add_alternative(f"<html><body><p>{FEE}</p></body></html>", subtype="html")
    assert read(tmp_path, message).count("310 crowns") == 1


def test_a_mail_in_html_is_read_like_a_page(tmp_path):
    html = f"<html><body><h2>News</h2><p>{FEE}</p><p style='display:none'>preview only</p></body></html>"
    message = make_mail()
    message.set_content(html, subtype="html")
    assert read(tmp_path, message) == f"{HEAD}\n\n## News\n\n{FEE}"
    message = make_mail()
    message.set_content("This mail needs HTML.")
    message.add_alternative(html, subtype="html")
    assert FEE in read(tmp_path, message)


def test_attachments_are_named_and_not_learnt(tmp_path):
    message = make_mail()
    message.set_content(FEE)
    message.add_attachment(b"%PDF-1.4" * 99, maintype="application", subtype="pdf", filename="Preise.pdf")
    message.add_attachment("secret;1", subtype="csv", filename="list.csv")
    assert read(tmp_path, message) == f"{HEAD}\n\n{FEE}"
    (skipped,) = (item for item in read_items([tmp_path / "a.eml"]) if isinstance(item, Skipped))
    assert skipped.reason == "attachments not read: Preise.pdf, list.csv"


def test_a_long_name_of_an_attachment_does_not_fill_the_screen(tmp_path):
    message = make_mail()
    message.set_content(FEE)
    message.add_attachment(b"1", maintype="application", subtype="pdf", filename="plan" * 500 + ".pdf")
    (tmp_path / "a.eml").write_bytes(message.as_bytes())
    (note,) = (item for item in read_items([tmp_path / "a.eml"]) if isinstance(item, Skipped))
    assert note.reason.startswith("attachments not read: planplan") and len(note.reason) <= 300


def test_a_forwarded_message_is_read_with_its_head(tmp_path):
    inner = make_mail(subject="Inner", **{"from": "ann@example.org"})
    inner.set_content("The otters are back.")
    message = make_mail()
    message.set_content(FEE)
    message.add_attachment(inner)
    text = read(tmp_path, message)
    assert text.startswith(HEAD)
    assert "# Inner\n\nFrom: ann@example.org" in text
    assert text.endswith("The otters are back.")


def test_flowed_lines_are_joined(tmp_path):
    data = (
        b"From: a@b\nTo: c@d\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8; format=flowed\n\n"
        b"This line goes \non here.\nNew line.\n-- \nAnn\n"
    )
    assert read(tmp_path, data).endswith("This line goes on here.\nNew line.\n-- \nAnn")


def test_unreadable_mail_gets_a_reason(tmp_path):
    message = make_mail()
    message.add_attachment(b"x", maintype="application", subtype="pkcs7-mime", filename="smime.p7m")
    assert "smime.p7m" in skip_reason(tmp_path, "a.eml", message.as_bytes())
    assert "header" in skip_reason(tmp_path, "b.eml", b"\n\njust text")
    assert "UTF-8" in skip_reason(
        tmp_path, "c.eml", b"From: a@b\nTo: c@d\nMIME-Version: 1.0\n\nGr\xfc\xdfe\n"
    )
    nested = b"From: a@b\nMIME-Version: 1.0\nContent-Type: message/rfc822\n\n" * 40 + b"From: a@b\n\nx\n"
    assert "nested" in skip_reason(tmp_path, "d.eml", nested)
    assert ".eml" in skip_reason(tmp_path, "e.msg", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99))


# --- web archives ----------------------------------------------------------------------------------------

ARCHIVE = (
    "From: <Saved by Blink>\nSubject: Fees\nDate: Tue, 29 Apr 2031 09:00:00 -0000\nMIME-Version: 1.0\n"
    'Content-Type: multipart/related; type="text/html"; boundary="b"\n\n'
    '--b\nContent-Type: text/html; charset="utf-8"\nContent-Transfer-Encoding: quoted-printable\n\n'
    "<html><body><h1>Berths</h1><p>The fee for a berth is 310 crowns a quarter, payable in advance at =\n"
    "the harbour office of L=C3=BCbeck.</p></body></html>\n"
    "--b\nContent-Type: text/css\n\nbody { color: red }\n"
    "--b\nContent-Type: text/html\n\n<p>An advertisement</p>\n"
    "--b\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=\n--b--\n"
)


def test_a_web_archive_is_read_like_a_page(tmp_path):
    assert read(tmp_path, ARCHIVE.encode(), "a.mht") == (
        "# Berths\n\nThe fee for a berth is 310 crowns a quarter, payable in advance at the harbour office of Lübeck."
    )
    assert read_mail(str(tmp_path / "a.mht"))["left_out"] == {"frames of the page": 15}


@pytest.mark.parametrize("name", ["a.mht", "a.mhtml", "a.txt", "a.html", "archive", "a.bak"])
def test_mail_and_archives_are_read_the_same_under_any_name(tmp_path, name):
    (tmp_path / name).write_bytes(ARCHIVE.replace("\n", "\r\n").encode())
    (document,) = read_items([tmp_path / name])
    assert document["text"].endswith("harbour office of Lübeck.")
    assert "Content-" not in document["text"]


# --- notebooks -------------------------------------------------------------------------------------------

CELLS = [
    {"cell_type": "markdown", "source": ["# Tour\n", "\n", "It takes fifty minutes.<!-- check -->"]},
    {
        "cell_type": "code",
        "source": "# not a title\nprint('```')",
        "outputs": [
            {"output_type": "stream", "name": "stdout", "text": ["```\n"]},
            {"output_type": "stream", "name": "stderr", "text": "a warning"},
            {"output_type": "execute_result", "data": {"text/plain": ["42"], "text/html": "<b>42</b>"}},
            {"output_type": "display_data", "data": {"text/plain": "<Figure>", "image/png": "iVBORw0KGgo="}},
            {"output_type": "error", "traceback": ["\x1b[31mValueError\x1b[0m"]},
            {"output_type": "stream", "name": "stdout", "text": "long " * 300},
        ],
    },
    {"cell_type": "raw", "source": "The end."},
]


def test_a_notebook_is_read_as_text_code_and_short_results(tmp_path):
    notebook = {"cells": CELLS, "metadata": {"language_info": {"name": "R"}}, "nbformat": 4}
    (tmp_path / "tour.ipynb").write_text(json.dumps(notebook), encoding="utf-8-sig")
    document = read_one(tmp_path / "tour.ipynb")
    assert document["title"] == "Tour"
    assert document["text"] == (
        "# Tour\n\nIt takes fifty minutes.\n\n````R\n# not a title\nprint('```')\n````\n\n"
        "````\n```\n````\n\n```\n42\n```\n\nThe end."
    )
    parsed = read_notebook(str(tmp_path / "tour.ipynb"))
    outputs = len("awarning" + "Figure" + "ValueError" + "long" * 300)
    assert parsed["left_out"] == {"long outputs, warnings and errors of code": outputs, "comments": 5}
    assert lost(parsed) == -1  # the language of the fence


def test_a_notebook_of_format_3_is_read(tmp_path):
    cells = [
        {"cell_type": "heading", "level": 2, "source": "Tour"},
        {"cell_type": "code", "input": ["x = 1"], "outputs": [{"output_type": "pyout", "text": ["1"]}]},
    ]
    notebook = {"nbformat": 3, "worksheets": [{"cells": cells}], "metadata": {}}
    (tmp_path / "tour.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    assert read_one(tmp_path / "tour.ipynb")["text"] == "## Tour\n\n```python\nx = 1\n```\n\n```\n1\n```"


@pytest.mark.parametrize("name", ["tour.json", "tour.txt", "tour", "tour.bak"])
def test_notebooks_are_read_the_same_under_any_name(tmp_path, name):
    notebook = {"cells": CELLS[:1], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / name).write_text(json.dumps(notebook), encoding="utf-8")
    assert read_one(tmp_path / name)["text"] == "# Tour\n\nIt takes fifty minutes."


def test_unreadable_notebooks_get_a_reason(tmp_path):
    assert "JSON" in skip_reason(tmp_path, "a.ipynb", b'{"cells": [')
    assert "without cells" in skip_reason(tmp_path, "b.ipynb", b'{"nbformat": 4}')
    assert "nested" in skip_reason(tmp_path, "c.ipynb", b"[" * 200_000)
    assert "no text" in skip_reason(tmp_path, "d.ipynb", b'{"cells": [], "nbformat": 4}')
    assert "no text" in skip_reason(tmp_path, "e.ipynb", b'{"cells": [{"cell_type": 1, "source": {}}, 5]}')

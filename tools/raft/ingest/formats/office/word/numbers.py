"""Write out the automatic numbers of Word paragraphs: "Article 3", "2.1", "(b)"."""

from __future__ import annotations

import re
from typing import Any

from ..ooxml import child, is_on, number, tag, value
from .styles import Styles

_LEVELS = 9


class Numbering:
    """The numbering definitions of a document, and how far each has counted."""

    def __init__(self, root: Any, styles: Styles) -> None:
        self._styles = styles
        self._abstract: dict[str | None, Any] = {}
        self._nums: dict[str | None, Any] = {}
        for element in () if root is None else root:
            if element.tag == tag("w:abstractNum"):
                self._abstract[element.get(tag("w:abstractNumId"))] = element
            elif element.tag == tag("w:num"):
                self._nums[element.get(tag("w:numId"))] = element
        self._counts: dict[str | None, list[int | None]] = {}  # by abstract definition
        self._begun: set[str | None] = set()

    def label(self, paragraph: Any) -> tuple[int, str | None] | None:
        """Count a paragraph; return its level from 0 and its label, or nothing if it is not numbered.

        The label of a bullet is None, and that of a paragraph that takes part without showing it "".
        """
        level, num_id = self._properties(paragraph)
        num = self._nums.get(num_id)
        if num is None:
            return None
        name, abstract = self._resolve(num)
        if abstract is None:
            return None
        levels = self._levels(num, abstract)
        definition = levels.get(level)
        if definition is None:
            return None
        counts = self._count(name, num_id, num, level, levels)
        kind = value(definition, "w:numFmt", default="decimal")
        if kind == "bullet":
            return level, None
        return level, _format(definition, levels, counts)

    def _properties(self, paragraph: Any) -> tuple[int, str | None]:
        """Return the level and the id of the numbering of a paragraph, from itself or from its styles."""
        own = child(paragraph, "w:pPr", "w:numPr")
        num_id, level = value(own, "w:numId"), value(own, "w:ilvl")
        for style in self._styles.chain(self._styles.of(paragraph)):
            inherited = child(style, "w:pPr", "w:numPr")
            if num_id is None and (num_id := value(inherited, "w:numId")) is not None and level is None:
                level = value(inherited, "w:ilvl") or self._level_of_style(num_id, style)
        return min(max(number(level, 0), 0), _LEVELS - 1), num_id

    def _level_of_style(self, num_id: str, style: Any) -> str | None:
        """Return the level that is tied to a style: headings of all levels share one definition."""
        num = self._nums.get(num_id)
        _, abstract = self._resolve(num) if num is not None else (None, None)
        for definition in () if abstract is None else abstract.findall(tag("w:lvl")):
            if value(definition, "w:pStyle") == style.get(tag("w:styleId")):
                found: str | None = definition.get(tag("w:ilvl"))
                return found
        return None

    def _resolve(self, num: Any) -> tuple[str | None, Any]:
        """Return the abstract definition of a numbering, which may be reached through a numbering style."""
        name = value(num, "w:abstractNumId")
        abstract = self._abstract.get(name)
        for style in self._styles.chain(value(abstract, "w:numStyleLink")):
            linked = self._nums.get(value(style, "w:pPr", "w:numPr", "w:numId"))
            if linked is not None:
                name = value(linked, "w:abstractNumId")
                return name, self._abstract.get(name)
        return name, abstract

    def _levels(self, num: Any, abstract: Any) -> dict[int, Any]:
        levels = {number(level.get(tag("w:ilvl")), -1): level for level in abstract.findall(tag("w:lvl"))}
        for override in num.findall(tag("w:lvlOverride")):
            if (level := child(override, "w:lvl")) is not None:
                levels[number(override.get(tag("w:ilvl")), -1)] = level
        return levels

    def _count(
        self, name: str | None, num_id: str | None, num: Any, level: int, levels: dict[int, Any]
    ) -> list[int]:
        """Count one more paragraph of a level, and start the levels below it anew."""
        starts = [number(value(levels.get(index), "w:start"), 1) for index in range(_LEVELS)]
        counts = self._counts.setdefault(name, [None] * _LEVELS)
        if num_id not in self._begun:
            self._begun.add(num_id)
            for override in num.findall(tag("w:lvlOverride")):
                index = number(override.get(tag("w:ilvl")), -1)
                start = value(override, "w:startOverride")
                if start is not None and 0 <= index < _LEVELS:
                    counts[index] = number(start, 1) - 1
                    counts[index + 1 :] = [None] * (_LEVELS - index - 1)
        previous = counts[level]
        counts[level] = starts[level] if previous is None else previous + 1
        for index in range(level + 1, _LEVELS):
            restart = number(value(levels.get(index), "w:lvlRestart"), index)
            if restart > level:  # 0: never; N: after a paragraph of level N or above, counted from 1
                counts[index] = None
        # A level that was skipped shows its start, without having counted.
        return [start if count is None else count for count, start in zip(counts, starts, strict=True)]


def _format(definition: Any, levels: dict[int, Any], counts: list[int]) -> str:
    legal = bool(is_on(definition, "w:isLgl"))

    def written(match: re.Match[str]) -> str:
        index = int(match.group(1)) - 1
        if legal and index != number(definition.get(tag("w:ilvl")), -1):
            return str(counts[index])
        kind = value(levels.get(index), "w:numFmt", default="decimal") or "decimal"
        return write_number(counts[index], "decimal" if legal else kind)

    label = re.sub(r"%([1-9])", written, value(definition, "w:lvlText", default="") or "")
    suffix = "" if value(definition, "w:suff") == "nothing" or not label else " "
    return label + suffix


def write_number(count: int, kind: str) -> str:
    """Write a number as a format of ISO 29500 (ST_NumberFormat) says; in digits, if it is not known."""
    if kind == "none":
        return ""
    if kind == "decimalZero":
        return f"{count:02d}"
    if kind in ("upperLetter", "lowerLetter"):
        return _in_case(_letters(count, "abcdefghijklmnopqrstuvwxyz"), kind)
    if kind in ("upperRoman", "lowerRoman"):
        return _in_case(_roman(count), kind)
    if kind == "ordinal":
        ending = "th" if count % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
        return f"{count}{ending}"
    if kind in _ALPHABETS:
        return _letters(count, _ALPHABETS[kind])
    if kind in _CHINESE and 0 < count < 100:
        return _chinese(count)
    if kind == "decimalEnclosedCircle" and 0 < count <= 20:
        return chr(0x245F + count)
    if kind == "decimalFullWidth":
        return str(count).translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)})
    return str(count)


_ALPHABETS = {
    "russianLower": "абвгдежзиклмнопрстуфхцчшщыэюя",
    "russianUpper": "АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЫЭЮЯ",
    "arabicAlpha": "أبتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "hebrew2": "אבגדהוזחטיכלמנסעפצקרשת",
    "aiueoFullWidth": "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモ"
    "ヤユヨラリルレロワヲン",
    "ganada": "가나다라마바사아자차카타파하",
    "chosung": "ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ",
}
_CHINESE = (
    "chineseCounting",
    "chineseCountingThousand",
    "japaneseCounting",
    "taiwaneseCounting",
    "taiwaneseCountingThousand",
    "ideographDigital",
)


def _in_case(text: str, kind: str) -> str:
    return text.upper() if kind.startswith("upper") else text.lower()


def _letters(count: int, alphabet: str) -> str:
    """Return a, b, … z, aa, bb, … zz, aaa: Word repeats the letter."""
    if not 0 < count <= 30 * len(alphabet):
        return str(count)
    times, index = divmod(count - 1, len(alphabet))
    return alphabet[index] * (times + 1)


def _roman(count: int) -> str:
    if not 0 < count < 4000:
        return str(count)
    text = ""
    for amount, letters in _ROMAN:
        text += letters * (count // amount)
        count %= amount
    return text


_ROMAN = tuple(
    zip(
        (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1),
        ("M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I"),
        strict=True,
    )
)


def _chinese(count: int) -> str:
    digits = " 一二三四五六七八九"
    tens, ones = divmod(count, 10)
    return ((digits[tens] if tens > 1 else "") + "十" if tens else "") + (digits[ones] if ones else "")

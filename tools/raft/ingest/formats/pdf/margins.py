"""Tell the running text of a PDF page from what stands in its margins: line numbers and turned text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from ..parsed import count_characters
from .lines import Line, group_rows
from .objects import turned

_NUMBER = re.compile(r"\d{1,4}")
_ALIGNED = 3.0  # points by which the edges of aligned numbers differ at most
_MAX_STAMP = 0.15  # of the characters of a page


def split_by_direction(pieces: list[Line], rotation: int, left_out: Counter[str]) -> list[list[Line]]:
    """Return the pieces in one group for each direction of text, the upright one on the shown page first.

    Turned text in the margin, such as the stamp of an archive, is left out. Sets `angle` to how the shown
    page has it; `rotation` is that of the page to the right, in degrees.
    """
    counts = Counter[int]()
    for piece in pieces:
        piece.angle = (piece.angle - rotation) % 360
        counts[piece.angle] += len(piece.text)
    if len(counts) < 2:
        return [pieces] if pieces else []
    main = max(counts, key=lambda angle: counts[angle])
    body = [piece for piece in pieces if piece.angle == main]
    left, right = _edges(body)
    groups = []
    for angle in sorted(counts, key=lambda angle: (angle != 0, angle % 90, -counts[angle])):
        group = [piece for piece in pieces if piece.angle == angle]
        if angle in (90, 270) and angle != main and counts[angle] < _MAX_STAMP * counts.total():
            boxes = [(piece, turned(piece.box, main - angle)) for piece in group]
            stamp = [piece for piece, (x0, _, x1, _) in boxes if x1 < left or x0 > right]
            left_out["turned text in the margin"] += sum(count_characters(piece.text) for piece in stamp)
            group = [piece for piece, (x0, _, x1, _) in boxes if not (x1 < left or x0 > right)]
        groups.append(group)
    return [group for group in groups if group]


def _edges(pieces: list[Line]) -> tuple[float, float]:
    """Return the left and right edge of the text, but for few pieces that stick out."""
    lefts, rights = sorted(piece.x0 for piece in pieces), sorted(piece.x1 for piece in pieces)
    few = len(pieces) // 20
    return lefts[few], rights[-1 - few]


def drop_line_numbers(pieces: list[Line], left_out: Counter[str]) -> list[Line]:
    """Return the pieces without numbers that count the lines, every one or every fifth, in a margin."""
    numbers = [piece for piece in pieces if _NUMBER.fullmatch(piece.text)]
    dropped = set[int]()
    for lane in _lanes(numbers):
        if len(lane) > 2 and _counts_lines(lane, [p for p in pieces if p.order not in dropped]):
            dropped.update(piece.order for piece in lane)
    left_out["line numbers"] += sum(len(piece.text) for piece in pieces if piece.order in dropped)
    return [piece for piece in pieces if piece.order not in dropped]


def _lanes(numbers: list[Line]) -> Iterator[list[Line]]:
    """Return groups of numbers that are aligned at their left or right, each from the head to the foot."""
    for edge in ("x1", "x0"):
        ordered = sorted(numbers, key=lambda piece: getattr(piece, edge))
        lane: list[Line] = []
        for piece in ordered:
            if lane and getattr(piece, edge) - getattr(lane[0], edge) > _ALIGNED:
                yield sorted(lane, key=lambda piece: -piece.middle)
                lane = []
            lane.append(piece)
        if lane:
            yield sorted(lane, key=lambda piece: -piece.middle)


def _counts_lines(lane: list[Line], pieces: list[Line]) -> bool:
    """Return whether a lane of numbers beside the text counts its lines."""
    values = [int(piece.text) for piece in lane]
    steps = Counter(below - above for above, below in pairwise(values))
    step, times = steps.most_common(1)[0]
    if step < 1 or times < 0.8 * (len(lane) - 1):
        return False
    rows = _rows_beside(lane, pieces)
    if not rows:
        return False
    left, right = min(piece.x0 for piece in lane), max(piece.x1 for piece in lane)
    texts = [piece for row in rows for piece in row]
    if any(piece.x0 < right and piece.x1 > left for piece in texts):
        return False
    outside = all(piece.x0 >= right for piece in texts) or all(piece.x1 <= left for piece in texts)
    if step == 1:
        return outside and len(lane) >= max(4, 0.6 * len(rows)) and _is_running_text(rows)
    return step % 5 == 0 and _stand_apart(lane, rows, step)


def _rows_beside(lane: list[Line], pieces: list[Line]) -> list[list[Line]]:
    """Return the text between the first and the last number, line by line."""
    own = {piece.order for piece in lane}
    top, foot = lane[0].middle + lane[0].height / 2, lane[-1].middle - lane[-1].height / 2
    texts = (piece for piece in pieces if piece.order not in own and foot < piece.middle < top)
    return group_rows(texts, lambda first, piece: 0.5 * piece.height)


def _is_running_text(rows: list[list[Line]]) -> bool:
    """Return whether sentences go on from line to line, or there are many lines and each is of one piece."""
    begins = [min(row, key=lambda piece: piece.x0).text[0] for row in rows]
    lower = sum(map(str.islower, begins))
    single = sum(len(row) == 1 for row in rows)
    return single >= 0.6 * len(rows) and (
        lower >= 0.2 * len(rows) or (single >= 0.8 * len(rows) and len(rows) >= 12)
    )


def _stand_apart(lane: list[Line], rows: list[list[Line]], step: int) -> bool:
    """Return whether there are as many lines from number to number as the numbers say."""
    right = 0
    for above, below in pairwise(lane):
        between = [row for row in rows if below.middle - 2 < row[0].middle < above.middle - 2]
        right += abs(len(between) - step) <= step // 5
    return right >= 0.7 * (len(lane) - 1)

"""Make drills out of a chunk by rule: questions that are a sentence with its answer taken out.

A small model learns from them to find a sentence and to copy it; no model is asked. The rule is the
noisy cloze of Lewis et al. 2019 (arXiv 1906.04980): words of the sentence dropped, its halves swapped.
"""

from __future__ import annotations

import random
import re
from itertools import pairwise

from ...prompts import prompt_hash, render
from ...records import Chunk, Draft, new_draft
from ...text.normalise import UNSPACED
from ...text.sentences import split_sentences
from ...text.words import is_function_word
from .grammar import answer_reply, is_eligible, word_spans

PROMPT = "drill.jinja2"

_DROPPED = 0.35  # of the words around the answer
_AROUND = 12  # words kept to either side of the answer, before some are dropped
_FEWEST = 2  # words of meaning that a question needs
_TRIES = 8  # sentences and answers drawn for a drill before it is given up
_LONGEST = 4  # words of an answer that is neither name nor number


def make_drills(chunk: Chunk, n: int, *, seed: int) -> list[Draft]:
    """Make up to n drills, each a finished draft whose answer quotes the sentence it was made of.

    Fewer where the chunk's sentences do not hold so many different ones. The answers are names and
    numbers: any words for an answer teach to answer with any words. Only a chunk without either, as in a
    script that writes nothing large, gets such drills. The draw depends on the seed and the chunk alone.
    """
    rng = random.Random(f"drills {seed} {chunk['id']}")
    sentences = [" ".join(sentence.split()) for sentence in split_sentences(chunk["text"])]
    sentences = [sentence for sentence in sentences if is_eligible(sentence)]
    telling = [
        sentence for sentence in sentences if any(_find_telling(_words_of(sentence, word_spans(sentence))))
    ]
    drills: dict[str, Draft] = {}
    for _ in range(n * _TRIES):
        if len(drills) == n or not sentences:
            break
        sentence = rng.choice(telling or sentences)
        if made := _make_cloze(sentence, rng):
            question, answer = made
            drills.setdefault(question, _draft(question, sentence, answer, chunk["id"]))
    return list(drills.values())


def _draft(question: str, sentence: str, answer: str, chunk_id: str) -> Draft:
    draft = new_draft(question, chunk_id, origin="drill")
    draft["cot_answer"], draft["final_answer"] = answer_reply(question, sentence, answer), answer
    draft["model"], draft["prompt_hash"] = "rule", prompt_hash(PROMPT)
    return draft


def _make_cloze(sentence: str, rng: random.Random) -> tuple[str, str] | None:
    """Draw an answer in a sentence and make the question of the rest; None where that is no question."""
    spans = word_spans(sentence)
    words = _words_of(sentence, spans)
    # Where the next word follows at once: no comma or bracket between them.
    joined = [sentence[a[1] : b[0]].isspace() for a, b in pairwise(spans)] + [False]
    drawn = _draw_answer(words, joined, rng)
    if drawn is None:
        return None
    begin, end, kind = drawn
    before, after = (
        [word for word in some if rng.random() >= _DROPPED]
        for some in (words[max(0, begin - _AROUND) : begin], words[end : end + _AROUND])
    )
    kept = before + after if rng.random() < 0.5 else after + before
    if sum(not is_function_word(word) for word in kept) < _FEWEST:
        return None
    joint = "" if UNSPACED.search(sentence) else " "
    values = {"kind": kind, "pick": rng.randrange(100), "words": joint.join(kept)}
    question = render(PROMPT, **values)[0]["content"]
    return question, sentence[spans[begin][0] : spans[end - 1][1]]


def _draw_answer(words: list[str], joined: list[bool], rng: random.Random) -> tuple[int, int, str] | None:
    """Draw begin, end and kind of an answer: a number, a name, or else words with meaning at both ends."""
    numbers, names = _find_telling(words)
    if numbers and (not names or rng.random() < 0.5):
        begin = rng.choice(numbers)
        if re.match(r"(1\d{3}|20\d\d)(?!\d)", words[begin]):
            return begin, begin + 1, "year"
        unit = words[begin + 1] if joined[begin] else ""
        has_unit = unit.isalpha() and not is_function_word(unit) and rng.random() < 0.4
        return begin, begin + 1 + has_unit, "number"
    if names:
        begin = end = rng.choice(names)
        while begin - 1 in names and joined[begin - 1]:
            begin -= 1
        while end + 1 in names and joined[end]:
            end += 1
        return begin, end + 1, "name"
    for _ in range(_TRIES):
        length = min(rng.randint(1, _LONGEST), len(words))
        begin = rng.randrange(len(words) - length + 1)
        if not is_function_word(words[begin]) and not is_function_word(words[begin + length - 1]):
            return begin, begin + length, "words"
    return None


def _find_telling(words: list[str]) -> tuple[list[int], list[int]]:
    """Find the places of numbers, and of words written large, which are names in most languages."""
    numbers = [i for i, word in enumerate(words) if word[0].isdigit()]
    # The first word always is, and a single letter is mostly half of an abbreviation.
    return numbers, [i for i, word in enumerate(words) if i and word[0].isupper() and len(word) > 1]


def _words_of(sentence: str, spans: list[tuple[int, int]]) -> list[str]:
    return [sentence[start:end] for start, end in spans]

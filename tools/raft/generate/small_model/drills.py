"""Make drills from a chunk by rule: each question is a sentence with its answer taken out.

A small model learns from them to find a sentence and to copy it; no model is called. The rule is the
noisy cloze of Lewis et al. 2019 (arXiv 1906.04980): words of the sentence are dropped, its halves swapped.
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

_DROP_RATE = 0.35  # share of the words around the answer that are dropped
_CONTEXT_WORDS = 12  # words on either side of the answer, before some are dropped
_MIN_CONTENT_WORDS = 2  # of a question
_TRIES = 8  # draws of a sentence, and of an answer, for each drill
_MAX_ANSWER_WORDS = 4  # if the answer is neither a name nor a number


def make_drills(chunk: Chunk, n: int, *, seed: int) -> list[Draft]:
    """Make up to n drills, each a complete draft whose answer quotes the sentence it was made from.

    There are fewer if the chunk's sentences do not yield n different ones. The answers are names and
    numbers, since arbitrary words as answers teach a model to answer with arbitrary words. Only a chunk
    without either, as in a script without capital letters, gets drills with other words as answers. The
    draw depends only on the seed and the chunk.
    """
    rng = random.Random(f"drills {seed} {chunk['id']}")
    sentences = [" ".join(sentence.split()) for sentence in split_sentences(chunk["text"])]
    sentences = [sentence for sentence in sentences if is_eligible(sentence)]
    informative = [
        sentence
        for sentence in sentences
        if any(_find_numbers_and_names(_words_of(sentence, word_spans(sentence))))
    ]
    drills: dict[str, Draft] = {}
    for _ in range(n * _TRIES):
        if len(drills) == n or not sentences:
            break
        sentence = rng.choice(informative or sentences)
        if cloze := _make_cloze(sentence, rng):
            question, answer = cloze
            drills.setdefault(question, _draft(question, sentence, answer, chunk["id"]))
    return list(drills.values())


def _draft(question: str, sentence: str, answer: str, chunk_id: str) -> Draft:
    draft = new_draft(question, chunk_id, origin="drill")
    draft["cot_answer"], draft["final_answer"] = answer_reply(question, sentence, answer), answer
    draft["model"], draft["prompt_hash"] = "rule", prompt_hash(PROMPT)
    return draft


def _make_cloze(sentence: str, rng: random.Random) -> tuple[str, str] | None:
    """Draw an answer from a sentence and make a question of the rest; None if that fails."""
    spans = word_spans(sentence)
    words = _words_of(sentence, spans)
    # For each word, whether only white space separates it from the next: no comma or bracket.
    adjacent = [sentence[a[1] : b[0]].isspace() for a, b in pairwise(spans)] + [False]
    answer = _draw_answer(words, adjacent, rng)
    if answer is None:
        return None
    begin, end, kind = answer
    before, after = (
        [word for word in side if rng.random() >= _DROP_RATE]
        for side in (words[max(0, begin - _CONTEXT_WORDS) : begin], words[end : end + _CONTEXT_WORDS])
    )
    remaining = before + after if rng.random() < 0.5 else after + before
    if sum(not is_function_word(word) for word in remaining) < _MIN_CONTENT_WORDS:
        return None
    separator = "" if UNSPACED.search(sentence) else " "
    values = {"kind": kind, "pick": rng.randrange(100), "words": separator.join(remaining)}
    question = render(PROMPT, **values)[0]["content"]
    return question, sentence[spans[begin][0] : spans[end - 1][1]]


def _draw_answer(words: list[str], adjacent: list[bool], rng: random.Random) -> tuple[int, int, str] | None:
    """Draw begin, end and kind of an answer: a number, a name, or words with content words at both ends."""
    numbers, names = _find_numbers_and_names(words)
    if numbers and (not names or rng.random() < 0.5):
        begin = rng.choice(numbers)
        if re.match(r"(1\d{3}|20\d\d)(?!\d)", words[begin]):
            return begin, begin + 1, "year"
        unit = words[begin + 1] if adjacent[begin] else ""
        has_unit = unit.isalpha() and not is_function_word(unit) and rng.random() < 0.4
        return begin, begin + 1 + has_unit, "number"
    if names:
        begin = end = rng.choice(names)
        while begin - 1 in names and adjacent[begin - 1]:
            begin -= 1
        while end + 1 in names and adjacent[end]:
            end += 1
        return begin, end + 1, "name"
    for _ in range(_TRIES):
        length = min(rng.randint(1, _MAX_ANSWER_WORDS), len(words))
        begin = rng.randrange(len(words) - length + 1)
        if not is_function_word(words[begin]) and not is_function_word(words[begin + length - 1]):
            return begin, begin + length, "words"
    return None


def _find_numbers_and_names(words: list[str]) -> tuple[list[int], list[int]]:
    """Return the positions of numbers and of capitalised words, which are names in most languages."""
    numbers = [i for i, word in enumerate(words) if word[0].isdigit()]
    # The first word is always capitalised, and a single letter is mostly part of an abbreviation.
    return numbers, [i for i, word in enumerate(words) if i and word[0].isupper() and len(word) > 1]


def _words_of(sentence: str, spans: list[tuple[int, int]]) -> list[str]:
    return [sentence[start:end] for start, end in spans]

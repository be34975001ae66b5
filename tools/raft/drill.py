"""Make drills out of a chunk by rule: questions that are a sentence with its answer taken out.

A small model learns from them to find a sentence and to copy it; no model is asked. The rule is the
noisy cloze of Lewis et al. 2019 (arXiv 1906.04980): words of the sentence dropped, its halves swapped.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from .guide import answer_reply, is_eligible, word_spans
from .overlap import is_function_word
from .prompts import prompt_hash, render
from .records import Chunk, Draft, new_draft
from .sentences import UNSPACED, split_sentences

PROMPT = "drill.jinja2"

_DROPPED = 0.35  # of the words around the answer
_AROUND = 12  # words kept to either side of the answer, before some are dropped
_FEWEST = 2  # words of meaning that a question needs
_TRIES = 8  # sentences and answers drawn for a drill before it is given up
_LONGEST = 4  # words of an answer that is neither name nor number


def make_drills(chunk: Chunk, n: int, *, seed: int) -> list[Draft]:
    """Make up to n drills, each a finished draft whose answer quotes the sentence it was made of.

    Fewer where the chunk's sentences do not hold so many different ones. The draw depends on the
    seed and the chunk alone.
    """
    rng = random.Random(f"drills {seed} {chunk['id']}")
    sentences = [" ".join(sentence.split()) for sentence in split_sentences(chunk["text"])]
    sentences = [sentence for sentence in sentences if is_eligible(sentence)]
    drills: dict[str, Draft] = {}
    for _ in range(n * _TRIES):
        if len(drills) == n or not sentences:
            break
        sentence = rng.choice(sentences)
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
    words = [sentence[start:end] for start, end in spans]
    drawn = next(_draw_answers(words, rng), None)
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


def _draw_answers(words: list[str], rng: random.Random) -> Iterator[tuple[int, int, str]]:
    """Draw begin, end and kind of an answer: a number, a name, or any words that begin and end with meaning.

    A kind that the sentence does not hold gives way to the next.
    """
    numbers = [i for i, word in enumerate(words) if word[0].isdigit()]
    # The first word is always written large, and a single letter is mostly half of an abbreviation.
    names = [i for i, word in enumerate(words) if i and word[0].isupper() and len(word) > 1]
    kind = rng.random()
    if kind < 0.3 and numbers:
        begin = rng.choice(numbers)
        is_year = bool(re.fullmatch(r"1\d{3}|20\d\d", words[begin]))
        unit = not is_year and rng.random() < 0.4 and words[begin + 1 : begin + 2]
        yield begin, begin + (2 if unit and unit[0].isalpha() else 1), "year" if is_year else "number"
    if kind < 0.6 and names:
        begin = end = rng.choice(names)
        while begin - 1 in names:
            begin -= 1
        while end in names:
            end += 1
        yield begin, end, "name"
    for _ in range(_TRIES):
        length = min(rng.randint(1, _LONGEST), len(words))
        begin = rng.randrange(len(words) - length + 1)
        if not is_function_word(words[begin]) and not is_function_word(words[begin + length - 1]):
            yield begin, begin + length, "words"

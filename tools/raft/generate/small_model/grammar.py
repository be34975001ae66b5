"""Constrained decoding: target sentences, GBNF grammars for verbatim text, and the replies they admit."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from ...raft_format import ANSWER_TAG, BEGIN_QUOTE, END_QUOTE
from ...text.answers import holds_answer
from ...text.normalise import UNSPACED
from ...text.words import all_words, content_words, matches_any

# Question words, which the lead-in of an answer repeats. English, like the prompts and the training data.
_QUESTION_WORDS = (
    *("how many", "how much", "how long", "how old", "how often", "how far"),
    *("who", "whom", "whose", "what", "when", "where", "which", "why", "how"),
)
_QUESTION_WORD = re.compile(rf"\b(?:{'|'.join(_QUESTION_WORDS)})\b", re.IGNORECASE)

_TERMINAL = re.compile(r"[.!?…؟۔।॥。！？｡][\"'”’»)\]」』）]*$")
_PIECE = re.compile(rf"(?:(?!{UNSPACED.pattern})[^\W_])+|[^\W_]")
_MIN_WORDS, _MAX_WORDS = 6, 40  # of a target; in scripts without spaces two characters count as a word
_ANAPHORA = re.compile(r"(?:It|They|He|She|This|These|Those|Such|Its|Their|His|Her|However|But|And)\b")
QUESTION_TAG = "Question:"
_QUESTION = re.compile(rf"Answer:[ ]*(.+?)\s*\n{QUESTION_TAG}[ ]*(.+)", re.DOTALL)


def question_reply(answer: str, question: str) -> str:
    """Format the reply the teacher is trained to give when asked for a question: answer first."""
    return f"Answer: {answer}\n{QUESTION_TAG} {question}"


def answer_reply(question: str, quote: str, answer: str) -> str:
    """Format the reply the teacher is trained to give to a question, in the RAFT answer format."""
    match = _QUESTION_WORD.search(question)
    question_word = match.group().lower() if match else "what"
    return f"This sentence says {question_word}: {BEGIN_QUOTE}{quote}{END_QUOTE}\n{ANSWER_TAG} {answer}"


def pick_targets(sentences: list[str], n: int) -> list[str]:
    """Pick up to n sentences to ask about, spread over the passage, in its order.

    Eligible are complete sentences of 6 to 40 words, mostly letters, no headings, lists or references.
    From each of n equal parts the best one is picked: with names and numbers, not starting with a pronoun.
    """
    eligible = [flat for flat in dict.fromkeys(" ".join(s.split()) for s in sentences) if is_eligible(flat)]
    n = min(n, len(eligible))
    parts = [eligible[i * len(eligible) // n : (i + 1) * len(eligible) // n] for i in range(n)]
    return [max(part, key=_score_target) for part in parts]


def is_eligible(sentence: str) -> bool:
    """Return whether a sentence, its white space collapsed, is worth asking about."""
    unspaced = len(UNSPACED.findall(sentence))
    words = len(sentence.split()) + unspaced // 2
    letters = sum(c.isalpha() or unicodedata.category(c).startswith("M") for c in sentence)
    return (
        _MIN_WORDS <= words <= _MAX_WORDS
        and bool(_TERMINAL.search(sentence))
        and not sentence.endswith(("?", "？", "؟"))
        and letters >= 0.7 * sum(not c.isspace() for c in sentence)
        and (unspaced > 0 or sentence.lstrip("\"'“‘«„(")[:1].isalnum())
        # Not a fragment, a list item, or a row of a table.
        and not re.match(r"\W*[a-zà-ÿ]|\d{1,3}[.)]\s|\^|\||[-*•]\s", sentence)
        and not re.search(r"https?:|www\.|doi:|ISBN|Retrieved|\[edit\]|et al\.|↑|\.{4}", sentence)
    )


def _score_target(sentence: str) -> int:
    names = re.search(r"(?<=\s)[^\W\d_a-zà-ÿ][\w-]+", sentence)
    return bool(names) + bool(re.search(r"\d", sentence)) - 2 * bool(_ANAPHORA.match(sentence))


def question_grammar(target: str) -> str:
    """Build the GBNF grammar of a reply about a sentence: a span of its words, then one question."""
    starts, rules = _span_rules("t", " ".join(target.split()))
    root = f'root ::= "Answer: " ({starts}) "\\n{QUESTION_TAG} " [^?？؟\\n]+ [?？؟]'
    return "\n".join([root, *rules])


def likely_sentences(sentences: list[str], question: str, *, holding: Sequence[str] = ()) -> list[str]:
    """Return the sentences that a question is likely to be about, in their order.

    A sentence qualifies if its score is at least half the highest one. Each content word of the question
    adds to a sentence that has it one divided by the number of such sentences. `holding` are answers known
    to be correct: if any sentences hold one, only those are returned.
    """
    known = [s for s in sentences if any(holds_answer(s, answer) for answer in holding)]
    words = [all_words(sentence) for sentence in sentences]
    scores = [0.0] * len(sentences)
    for word in sorted(content_words(question)):
        matching = [i for i, sentence_words in enumerate(words) if matches_any(word, sentence_words)]
        for i in matching:
            scores[i] += 1 / len(matching)
    likely = [s for s, score in zip(sentences, scores, strict=True) if score >= max(scores) / 2]
    return [s for s in known if s in likely] or known or likely


def answer_grammar(sentences: list[str]) -> str:
    """Build the GBNF grammar of an answer: a quote of one of the sentences, then a span of its words.

    sentences: those of the passage, in order; their white space is collapsed, headings and fragments are
    left out. At least one must contain a word.
    """
    quotes, rules = [], []
    flat = list(dict.fromkeys(" ".join(s.split()) for s in sentences))
    complete = [s for s in flat if not s.startswith("#") and len(word_spans(s)) > 2] or flat
    for i, sentence in enumerate(complete):
        starts, span_rules = _span_rules(f"s{i}", sentence)
        if span_rules:
            quotes.append(f"q{i}")
            rules += [
                f"q{i} ::= {_literal(f'{sentence}{END_QUOTE}' + chr(10) + f'{ANSWER_TAG} ')} ({starts})",
                *span_rules,
            ]
    question_words = " | ".join(_literal(word) for word in _QUESTION_WORDS)
    root = f'root ::= "This sentence says " ({question_words}) ": {BEGIN_QUOTE}" ({" | ".join(quotes)})'
    return "\n".join([root, *rules])


def _span_rules(name: str, sentence: str) -> tuple[str, list[str]]:
    """Build the rules that admit exactly the spans of whole words; also return the choice of first words."""
    units = word_spans(sentence)
    rules = []
    for i, (start, end) in enumerate(units):
        between = sentence[end : units[i + 1][0]] if i + 1 < len(units) else ""
        separator = f"{_literal(between)} " if between else ""
        rest = f" ({separator}{name}-{i + 1})?" if i + 1 < len(units) else ""
        rules.append(f"{name}-{i} ::= {_literal(sentence[start:end])}{rest}")
    return " | ".join(f"{name}-{i}" for i in range(len(units))), rules


def word_spans(sentence: str) -> list[tuple[int, int]]:
    """Return the spans of words, without punctuation around them; of characters in scripts without spaces."""
    units: list[tuple[int, int]] = []
    for run in re.finditer(r"[^\s—]+", sentence):
        if UNSPACED.search(run.group()):
            units += [piece.span() for piece in _PIECE.finditer(sentence, *run.span())]
            continue
        start, end = run.span()
        while start < end and not _is_inner(sentence[start]):
            start += 1
        while end > start and not _is_inner(sentence[end - 1]):
            end -= 1
        if re.search(r"[’']s$", sentence[start:end]):
            end -= 2
        elif re.fullmatch(r"(?:\w\.)+\w", sentence[start:end]) and sentence[end : end + 1] == ".":
            end += 1  # "U.S."
        if end > start:
            units.append((start, end))
    return units


def _is_inner(character: str) -> bool:
    return (
        unicodedata.category(character)[0] in "LMN"
        or unicodedata.category(character) == "Sc"
        or character in "%°"
    )


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def parse_question_reply(text: str) -> tuple[str, str] | None:
    """Parse a guided reply into (question, expected answer); return None if its format is wrong."""
    found = _QUESTION.match(text.strip())
    return (" ".join(found[2].split()), found[1].strip()) if found else None

"""Constrained decoding: target sentences, GBNF grammars that admit only verbatim text, and the replies they allow."""

from __future__ import annotations

import re
import unicodedata

from ...raft_format import ANSWER_TAG, BEGIN_QUOTE, END_QUOTE
from ...text.answers import holds_answer
from ...text.normalise import UNSPACED
from ...text.words import content_words, all_words, matches_any

# How a question asks; the answer's lead-in takes it up. English, as the prompts and the training data are.
_ASKS = (
    *("how many", "how much", "how long", "how old", "how often", "how far"),
    *("who", "whom", "whose", "what", "when", "where", "which", "why", "how"),
)
_ASK = re.compile(rf"\b(?:{'|'.join(_ASKS)})\b", re.IGNORECASE)

_TERMINAL = re.compile(r"[.!?…؟۔।॥。！？｡][\"'”’»)\]」』）]*$")
_PIECE = re.compile(rf"(?:(?!{UNSPACED.pattern})[^\W_])+|[^\W_]")
_WORDS = (6, 40)  # of a sentence worth asking about; two characters are a word where no blanks are set
_ANAPHORA = re.compile(r"(?:It|They|He|She|This|These|Those|Such|Its|Their|His|Her|However|But|And)\b")
QUESTION_TAG = "Question:"
_QUESTION = re.compile(rf"Answer:[ ]*(.+?)\s*\n{QUESTION_TAG}[ ]*(.+)", re.DOTALL)


def question_reply(answer: str, question: str) -> str:
    """Write the reply the teacher learns to give when asked for a question: answer first."""
    return f"Answer: {answer}\n{QUESTION_TAG} {question}"


def answer_reply(question: str, quote: str, answer: str) -> str:
    """Write the reply the teacher learns to give to a question, in the format of RAFT answers."""
    asks = _ASK.search(question)
    lead = asks.group().lower() if asks else "what"
    return f"This sentence says {lead}: {BEGIN_QUOTE}{quote}{END_QUOTE}\n{ANSWER_TAG} {answer}"


def pick_targets(sentences: list[str], n: int) -> list[str]:
    """Pick up to n sentences to ask about, spread over the passage, in its order.

    Eligible are whole sentences of 6 to 40 words, mostly letters, no headings, lists or references.
    Of each stretch the one with most to ask about is taken: names and numbers, no open pronoun.
    """
    eligible = [flat for flat in dict.fromkeys(" ".join(s.split()) for s in sentences) if is_eligible(flat)]
    n = min(n, len(eligible))
    stretches = [eligible[i * len(eligible) // n : (i + 1) * len(eligible) // n] for i in range(n)]
    return [max(stretch, key=_worth) for stretch in stretches]


def is_eligible(sentence: str) -> bool:
    """Tell whether a sentence, blanks folded, is worth asking about."""
    unspaced = len(UNSPACED.findall(sentence))
    words = len(sentence.split()) + unspaced // 2
    letters = sum(c.isalpha() or unicodedata.category(c).startswith("M") for c in sentence)
    return (
        _WORDS[0] <= words <= _WORDS[1]
        and bool(_TERMINAL.search(sentence))
        and not sentence.endswith(("?", "？", "؟"))
        and letters >= 0.7 * sum(not c.isspace() for c in sentence)
        and (unspaced > 0 or sentence.lstrip("\"'“‘«„(")[:1].isalnum())
        and not re.match(
            r"\W*[a-zà-ÿ]|\d{1,3}[.)]\s|\^|\||[-*•]\s", sentence
        )  # a cut-off half, an item, a table
        and not re.search(r"https?:|www\.|doi:|ISBN|Retrieved|\[edit\]|et al\.|↑|\.{4}", sentence)
    )


def _worth(sentence: str) -> int:
    names = re.search(r"(?<=\s)[^\W\d_a-zà-ÿ][\w-]+", sentence)
    return bool(names) + bool(re.search(r"\d", sentence)) - 2 * bool(_ANAPHORA.match(sentence))


def question_grammar(target: str) -> str:
    """Write the GBNF grammar of a reply about a sentence: a span of its words, then one question."""
    starts, rules = _span_rules("t", " ".join(target.split()))
    root = f'root ::= "Answer: " ({starts}) "\\n{QUESTION_TAG} " [^?？؟\\n]+ [?？؟]'
    return "\n".join([root, *rules])


def likely_sentences(sentences: list[str], question: str, *, holding: str = "") -> list[str]:
    """Narrow the sentences down to those a question can be about, in their order.

    A sentence stays if it shares at least half as much with the question as the one that shares most;
    a shared word counts the less, the more sentences have it. `holding` is an answer known to be
    right: where sentences have it word for word, only they stay.
    """
    known = [s for s in sentences if holds_answer(s, holding)]
    words = [all_words(sentence) for sentence in sentences]
    scores = [0.0] * len(sentences)
    for word in sorted(content_words(question)):
        having = [i for i, held in enumerate(words) if matches_any(word, held)]
        for i in having:
            scores[i] += 1 / len(having)
    likely = [s for s, score in zip(sentences, scores, strict=True) if score >= max(scores) / 2]
    return [s for s in known if s in likely] or known or likely


def answer_grammar(sentences: list[str]) -> str:
    """Write the GBNF grammar of an answer: quotes one of the sentences, answers in a span of its words.

    sentences: of the passage, in order; white space in them is flattened, headings and fragments are left
    out. At least one has to hold a word.
    """
    quotes, rules = [], []
    flat = list(dict.fromkeys(" ".join(s.split()) for s in sentences))
    whole = [s for s in flat if not s.startswith("#") and len(word_spans(s)) > 2] or flat
    for i, sentence in enumerate(whole):
        starts, own = _span_rules(f"s{i}", sentence)
        if own:
            quotes.append(f"q{i}")
            rules += [
                f"q{i} ::= {_literal(f'{sentence}{END_QUOTE}' + chr(10) + f'{ANSWER_TAG} ')} ({starts})",
                *own,
            ]
    asks = " | ".join(_literal(ask) for ask in _ASKS)
    root = f'root ::= "This sentence says " ({asks}) ": {BEGIN_QUOTE}" ({" | ".join(quotes)})'
    return "\n".join([root, *rules])


def _span_rules(name: str, sentence: str) -> tuple[str, list[str]]:
    """Write the rules that admit exactly the spans of whole words, and the choice of their first words."""
    units = word_spans(sentence)
    rules = []
    for i, (start, end) in enumerate(units):
        between = sentence[end : units[i + 1][0]] if i + 1 < len(units) else ""
        joint = f"{_literal(between)} " if between else ""
        rest = f" ({joint}{name}-{i + 1})?" if i + 1 < len(units) else ""
        rules.append(f"{name}-{i} ::= {_literal(sentence[start:end])}{rest}")
    return " | ".join(f"{name}-{i}" for i in range(len(units))), rules


def word_spans(sentence: str) -> list[tuple[int, int]]:
    """Find the words of a sentence, without punctuation around them; characters where no blanks are set."""
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
    """Read a guided reply into (question, the answer it is meant to have), or None."""
    found = _QUESTION.match(text.strip())
    return (" ".join(found[2].split()), found[1].strip()) if found else None

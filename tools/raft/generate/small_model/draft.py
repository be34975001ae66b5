"""Draft rows with a model too small to follow instructions: one sentence at a time, under grammars.

The embedded teacher is asked for an answer and its question about one target sentence; then, shown neither
sentence nor answer, it answers the question. Rows are kept if the two agree. Prompts of the user's own are
ignored: the adapter was trained on these two.
"""

from __future__ import annotations

from ...models.client import RETRY_TEMPERATURE, Client
from ...models.failed_calls import CallFailed
from ...prompts import render
from ...raft_format import ANSWER_TAG, Answer, parse_answer
from ...records import Chunk, Draft, Kind, new_draft
from ...text.normalise import normalise
from ...text.sentences import split_sentences
from .. import verify
from ..ask import QUESTION_TOKENS, reject_failed, shortfall
from .grammar import (
    QUESTION_TAG,
    answer_grammar,
    likely_sentences,
    parse_question_reply,
    pick_targets,
    question_grammar,
)
from .verify import find_answer_flaw, find_question_flaw, is_likely_answer, is_likely_wording, logprobs_after

QUESTION_PROMPT, ANSWER_PROMPT = "guided_question.jinja2", "guided_answer.jinja2"
_ANSWER_TOKENS = 256  # one quoted sentence and a short answer
_RETRIES = (1, 2)  # a new question is cheap


class ConstrainedTeacher:
    """The embedded teacher; see `draft.Teacher` for what each method does."""

    sequential = True

    def prompts(self, kind: Kind) -> tuple[str, str]:
        """Return the names of the two prompts the model was trained on."""
        return QUESTION_PROMPT, ANSWER_PROMPT

    async def ask_questions(
        self, chunk: Chunk, client: Client, *, n: int, seed: int, messages: object = None
    ) -> list[Draft]:
        """Ask one question about each of n sentences; if asked for a list, a small model repeats itself.

        Nothing is asked about an API entry: an answer under the grammar is a span of words of a sentence,
        which a call with its brackets never is.
        """
        if chunk["kind"] == "api":
            return shortfall(chunk, n, "the embedded teacher writes no API calls")
        drafts = []
        for target in pick_targets(split_sentences(chunk["text"]), n):
            draft = new_draft("", chunk["id"])
            draft["target"] = target
            await self._ask_question(draft, chunk, client, seed=seed, attempt=0)
            drafts.append(draft)
        return drafts + shortfall(chunk, n - len(drafts), "no more sentences to ask about")

    async def _ask_question(
        self, draft: Draft, chunk: Chunk, client: Client, *, seed: int, attempt: int
    ) -> None:
        """Fill in a question about the target sentence, and its expected answer."""
        try:
            reply = await client.ask(
                render(QUESTION_PROMPT, passage=chunk["text"], target=draft["target"]),
                max_tokens=2 * QUESTION_TOKENS,
                temperature=RETRY_TEMPERATURE if attempt else 0.0,
                seed=seed if attempt else None,
                attempt=attempt,
                extra={"grammar": question_grammar(draft["target"]), "cache_prompt": True, "logprobs": True},
            )
        except CallFailed as failure:
            reject_failed(draft, failure)
            return
        draft["question"], expected = parse_question_reply(reply.text) or ("", "")
        draft["expected"] = [expected]
        if not is_likely_wording(logprobs_after(QUESTION_TAG, reply.logprobs)):
            draft["reason"] = "question is a guess"

    def verify_question(self, draft: Draft, chunk: Chunk) -> str:
        """Check that it can be understood alone and, if the model asked it, does not give its answer away."""
        flaw = verify.verify_question(draft, chunk)
        if flaw or "target" not in draft:
            return flaw
        return find_question_flaw(draft["question"], draft["expected"][0], draft["target"], chunk)

    async def answer_question(
        self, draft: Draft, chunk: Chunk, client: Client, *, seed: int, messages: object = None
    ) -> None:
        """Ask for a quoted sentence and a span of it."""
        try:
            reply = await client.ask(
                render(ANSWER_PROMPT, passage=chunk["text"], question=draft["question"]),
                max_tokens=_ANSWER_TOKENS,
                extra={"grammar": _grammar(draft, chunk), "cache_prompt": True, "logprobs": True},
            )
        except CallFailed as failure:
            reject_failed(draft, failure)
            return
        draft["cot_answer"], draft["finish_reason"] = reply.text, reply.finish_reason
        if "target" in draft and not is_likely_answer(logprobs_after(ANSWER_TAG, reply.logprobs)):
            draft["reason"] = "answer is a guess"

    async def verify_answer(self, draft: Draft, chunk: Chunk, client: Client) -> None:
        """Check format and quotes, that the answer is from the target sentence, and that it is stable."""
        answer = verify.verify_draft(draft, chunk)
        if answer and "target" in draft:
            draft["reason"] = find_answer_flaw(draft, chunk, answer)
            await self._answer_again(draft, client)

    async def _answer_again(self, draft: Draft, client: Client) -> None:
        """Reject a verified draft whose answer changes when the model sees the target sentence alone."""
        if draft["reason"]:
            return
        try:
            reply = await client.ask(
                render(ANSWER_PROMPT, passage=draft["target"], question=draft["question"]),
                max_tokens=_ANSWER_TOKENS,
                extra={"grammar": answer_grammar([draft["target"]])},
            )
        except CallFailed as failure:
            reject_failed(draft, failure)
            return
        again = parse_answer(reply.text)
        if not isinstance(again, Answer) or normalise(again.final) != normalise(draft["final_answer"]):
            draft["reason"] = "tries disagree on the answer"

    async def retry(
        self, draft: Draft, chunk: Chunk, client: Client, *, seed: int, messages: object = None
    ) -> None:
        """Ask up to two other questions about the sentence; a given question is not retried."""
        for attempt in _RETRIES:
            if not draft["reason"] or draft["failed"] or "target" not in draft:
                return
            draft["reason"], draft["cot_answer"] = "", ""
            await self._ask_question(draft, chunk, client, seed=seed, attempt=attempt)
            draft["reason"] = draft["reason"] or self.verify_question(draft, chunk)
            if not draft["reason"]:
                await self.answer_question(draft, chunk, client, seed=seed)
            await self.verify_answer(draft, chunk, client)


def _grammar(draft: Draft, chunk: Chunk) -> str:
    """Return a grammar that admits verbatim quotes only; for a given question, of likely sentences only."""
    sentences = split_sentences(chunk["text"])
    if draft["origin"] == "given":
        sentences = likely_sentences(sentences, draft["question"], holding=draft.get("expected", ()))
    return answer_grammar(sentences)

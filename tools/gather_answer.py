"""Node: the inputs of the flow → the answer and what is known of its question."""

from promptflow.core import tool


@tool
def gather_answer(
    question: str,
    answer: str,
    reasoning: str,
    citations: list,
    answered: bool,
    note: str,
    documents: list,
    gold: str,
    golds: list,
    answerable: bool,
    relevant: list,
    language: str,
) -> dict:
    """Put them into the shape that scores are made from; documents that are not given are not known."""
    row = {"question": question, "answer": answer, "reasoning": reasoning, "citations": citations}
    row |= {"answered": answered, "note": note, "documents": documents or None, "error": ""}
    known = {"question": question, "relevant": relevant, "language": language, "answerable": answerable}
    if golds or gold or not answerable:
        known["answers"] = golds or [gold]
    return {"row": row, "gold": known}

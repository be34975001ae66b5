"""Node: the inputs of the flow → the answer, and the gold data of its question."""

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
    oracles: list,
) -> dict:
    """Arrange the inputs as scoring expects them; an empty list of documents means that they are unknown."""
    row = {"question": question, "answer": answer, "reasoning": reasoning, "citations": citations}
    row |= {"answered": answered, "note": note, "documents": documents or None, "error": ""}
    gold_row = {"question": question, "relevant": relevant, "language": language, "answerable": answerable}
    gold_row["answers"] = golds or gold  # empty: unknown
    gold_row["oracles"] = oracles
    return {"row": row, "gold": gold_row}

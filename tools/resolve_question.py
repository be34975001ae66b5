"""Node: a question and the previous turns → the search query, and the question to ask."""

from promptflow.core import tool

import tools.chat_page  # the chat page of `pf flow serve` needs it
import tools.llm_parameters  # as does an llm node whose model does not take all of its parameters
import tools.token_counts  # noqa: F401 - and the tokens that promptflow counts
from tools.raft.rag import follow_up
from tools.served_request import check_text


@tool
def resolve_question(question: str, chat_history: list) -> dict:
    """Make a follow-up question self-contained; return "query" and "question", both sanitized."""
    check_text("question")
    return follow_up.resolve_question(question, chat_history or [])._asdict()

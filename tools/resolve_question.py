"""Node: a question and the turns before it → what to search for, and what to ask."""

from promptflow.core import tool

import tools.chat_page  # noqa: F401 - the chat page of `pf flow serve` needs it
from tools.raft.follow_up import stand_alone


@tool
def resolve_question(question: str, chat_history: list) -> dict:
    """Make a follow-up stand by itself; gives "query" and "question", both made safe."""
    return stand_alone(question, chat_history or [])._asdict()

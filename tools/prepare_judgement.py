"""Node: an answer and its gold data → what the prompts of the judge show, and which of them are needed."""

from promptflow.core import tool

from tools.raft.evaluate.judge import applicable_judgements, judge_values
from tools.raft.evaluate.metrics import JUDGEMENTS, chosen_judgements
from tools.raft.evaluate.score import read_gold


@tool
def prepare_judgement(answer: dict, gold: dict, chosen: dict) -> dict:
    """Return the sanitized values of the prompts, and for each judgement if it is chosen and applies."""
    values = judge_values(answer, read_gold(gold))
    needed = {*applicable_judgements(values)} & {*chosen_judgements(chosen)}
    return {**values, **{f"judge_{name}": name in needed for name in JUDGEMENTS}}

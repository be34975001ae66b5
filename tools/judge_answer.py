"""Node: an answer → the judge's scores, 1 to 5."""

from typing import Union

from promptflow.connections import (
    AzureOpenAIConnection,
    CustomConnection,
    OpenAIConnection,
    ServerlessConnection,
)
from promptflow.core import tool

from tools.connections import node_client
from tools.raft.evaluate.judge import judge_answers
from tools.raft.evaluate.metrics import chosen_judgements
from tools.raft.evaluate.score import read_gold


@tool
async def judge_answer(
    connection: Union[AzureOpenAIConnection, OpenAIConnection, ServerlessConnection, CustomConnection],
    model: str,
    answer: dict,
    gold: dict,
    chosen: dict,
) -> dict:
    """Ask the judge for the chosen judgements; a score that cannot be read is null, `error` says why."""
    async with node_client(connection, model) as client:
        verdicts = await judge_answers([answer], [read_gold(gold)], client, names=chosen_judgements(chosen))
    return {
        name: {"score": verdict.score, "said": verdict.said, "error": verdict.error}
        for name, verdict in verdicts[0].items()
    }

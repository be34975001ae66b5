"""Node: drafted answers → those verified, and those rejected with their reasons."""

from typing import Union

from promptflow.connections import (
    AzureOpenAIConnection,
    CustomConnection,
    OpenAIConnection,
    ServerlessConnection,
)
from promptflow.core import tool

from tools.connections import node_client
from tools.raft.generate import draft


@tool
async def verify_answers(
    connection: Union[AzureOpenAIConnection, OpenAIConnection, ServerlessConnection, CustomConnection],
    model: str,
    chunk: dict,
    drafts: list,
    seed: int,
) -> dict:
    """Verify every answer and retry the rejected ones; return the lists "verified" and "rejected"."""
    async with node_client(connection, model) as client:
        await draft.verify_answers(drafts, chunk, client, seed=seed)
        return {
            "verified": [row for row in drafts if not row["reason"]],
            "rejected": [row for row in drafts if row["reason"]],
        }

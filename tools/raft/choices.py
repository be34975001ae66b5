"""The choices that options, settings and nodes offer, each listed once; importing them costs nothing."""

from __future__ import annotations

from typing import Any, Literal, get_args

from .errors import UserError

Chunking = Literal["text", "semantic"]  # split at headings and sentences, or where the topic changes
Mode = Literal["lexical", "dense", "fused"]  # of retrieval
Negatives = Literal["lexical", "dense", "fused", "random"]  # where distractors come from
NoOracle = Literal["keep", "refuse"]  # the label of a row without its oracle: its answer, or a refusal
Quotes = Literal["free", "gbnf", "vllm", "schema"]  # or held to sentences by a grammar or a JSON schema
FOCUS_SHARE = 0.93  # of the sentences' scores that focus keeps, see rag/focus.py
Order = Literal["shuffled", "ranked"]  # of a row's documents: at random, or best first as at inference
Api = Literal["chat", "completion"]  # of an endpoint
Form = Literal["chat", "completion", "dsf"]  # in which a dataset is trained on
Method = Literal["sft", "dpo"]  # of a fine-tuning: on answers, or on pairs of a better and a worse one
BackendName = Literal["local", "trl", "azure-ml", "openai"]  # of a fine-tuning
ON_THIS_MACHINE = ("local", "trl")  # backends that train in a process of this machine
Quantization = Literal["none", "4bit", "8bit"]  # of the base model in a training with TRL
TrainingType = Literal["standard", "global", "developer"]  # the tier of a training at Azure
DeploymentType = Literal["standard", "data-zone", "global", "developer"]  # of what was tuned there
Trainer = Literal["trl", "axolotl", "llama-factory", "unsloth"]  # that a training is exported for
EngineName = Literal["local", "ray"]  # that drafts the rows of a dataset
Prompt = Literal["chain_of_thought", "plain", "few_shot", "closed_book"]  # as the variants of flows/chat_rag


def check_choice(name: str, value: str, choices: Any) -> None:
    """Raise UserError if the value is not one of a Literal's, as where it was typed into a flow."""
    if value not in get_args(choices):
        raise UserError(f"{name}: {value!r} is not one of {', '.join(get_args(choices))}")

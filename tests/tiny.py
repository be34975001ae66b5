"""A tokenizer and a model small enough to train in a moment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


class WordTokenizer:
    """A tokenizer of words and single characters, with the interface of a fast tokenizer."""

    eos_token = " <end>"

    def __init__(self) -> None:
        self.vocabulary: dict[str, int] = {}

    def __call__(self, text: str, **_: Any) -> Any:
        pieces = list(re.finditer(r"\s|\w+|[^\w\s]", text))
        encoding = type("Encoding", (), {})()
        encoding.input_ids = [
            self.vocabulary.setdefault(piece.group(), len(self.vocabulary)) for piece in pieces
        ]
        encoding.offset_mapping = [piece.span() for piece in pieces]
        return encoding

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return "\n".join(f"{m['role']} {m['content']}" for m in messages) + "\nassistant "


def tiny_model() -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=200, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=2048,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def save_tiny_model(folder: Path) -> Path:
    """Save the tiny model with a byte tokenizer and a chat template, in transformers' format."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())[:190]
    vocabulary = {piece: number for number, piece in enumerate([*alphabet, "<s>", "</s>", "<unk>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    template = (
        "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=template,
    )
    fast.save_pretrained(folder)
    tiny_model().save_pretrained(folder)
    return folder

"""RAFT as a library, without promptflow. Each name is imported from its module when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    # documents → chunks
    "read": ("read_documents", "Skipped"),
    "split": ("split_document", "load_tokenizer"),
    "weak": ("weak_chunk", "drop_duplicates"),
    "collect": ("collect_chunks", "Corpus"),
    "sentences": ("split_sentences",),
    "safe": ("make_safe", "fold"),
    # models
    "endpoint": ("Endpoint", "resolve_endpoint"),
    "client": ("Client", "Reply", "Usage", "CallFailed", "EndpointRefused"),
    "prompts": ("render", "prompt_hash"),
    "serve": ("embedded_server", "teacher_adapter"),
    "merge": ("merged_model", "merge_adapter"),
    "embed": ("Embedder",),
    # chunk → verified drafts
    "ask": ("ask_questions",),
    "answer": ("answer_question",),
    "check": ("check_question", "check_answer", "check_draft", "answers_agree"),
    "draft": ("draft_rows", "answer_given"),
    "drill": ("make_drills",),
    "locate": ("Locator", "read_questions"),
    # drafts → records
    "retrieve": ("Retriever", "fuse"),
    "distract": ("Distractors", "open_distractors"),
    "assemble": ("assemble_record", "format_instruction", "Record"),
    "splits": ("assign_splits",),
    "generate": ("generate_records", "Tally"),
    # records → datasets
    "build": ("build_dataset", "summarise", "Settings"),
    "dataset": ("make_datasets", "write_datasets", "to_chat", "to_completion", "to_eval"),
    "vet": ("vet_files", "Finding"),
    "card": ("write_manifest", "write_card"),
    "cost": ("load_prices", "dollars", "estimate_generation"),
    # chunks → retrieval
    "index": ("build_index", "open_index", "Index", "Hit"),
    "index_store": ("IndexManifest",),
    "embed_endpoint": ("open_embedder",),
    "rank_metrics": ("recall_at", "reciprocal_rank", "ndcg_at", "score_hits", "average_scores"),
    # index → answers
    "follow_up": ("stand_alone",),
    "chat": ("answer_questions", "chat_messages", "instruction_of", "read_asked"),
    "cite": ("read_reply", "show_answer"),
    # datasets → tuned models
    "job": ("Order", "Backend", "run_job"),
    "finetune_local": ("LocalBackend", "train_order"),
    "train": ("train_adapter", "Recipe"),
    "squad": ("read_paragraphs", "label_people", "write_labelled"),
    "finetune_openai": ("OpenAIBackend",),
    "finetune_azure": ("AzureMLBackend",),
    "azure_job": ("write_job",),
    "azure_deploy": ("deploy_serverless", "delete_serverless", "write_connection"),
    # answers → scores, and what arms differ in
    "match": ("exact_match", "answer_f1"),
    "score": ("Gold", "read_gold", "score_answer", "score_answers"),
    "judge": ("judge_answers", "Verdict"),
    "average": ("choose_metrics", "average_metrics"),
    "contrast": ("contrast_arms", "mean_intervals"),
    "arms": ("ARMS", "ask_arm", "choose_arms"),
    "compare": ("compare_arms",),
    "arm_cost": ("cost_arm", "pay_back"),
    "judge_check": ("read_pairs", "measure_agreement"),
    # what they pass on
    "records": ("Document", "Chunk", "Draft", "content_id", "read_chunks"),
    "errors": ("UserError",),
    # the embedded teacher
    "teach": ("train_teacher",),
    "adapter": ("write_adapter",),
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_WHERE)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)


def __dir__() -> list[str]:
    return list(__all__)

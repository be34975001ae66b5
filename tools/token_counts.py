"""Let promptflow 1.18.5 count the tokens of today's replies, whose `usage` holds details beside the counts.

It takes the details for counts: it warns several times a call, and its trace view lacks the tokens of prompt
and reply. Nodes import this module, so the fix applies wherever a flow runs.
"""

from collections.abc import Mapping
from typing import Any

from promptflow.tracing._openai_utils import OpenAIMetricsCalculator
from promptflow.tracing._trace import TokenCollector


def _counts(usage: Mapping[str, Any]) -> dict[str, int]:
    return {name: value for name, value in usage.items() if isinstance(value, int)}


def _merge(self: OpenAIMetricsCalculator, metrics: dict[str, int], more: Mapping[str, Any]) -> None:
    for name, value in _counts(more).items():
        metrics[name] = metrics.get(name, 0) + value


def _collect(self: TokenCollector, span: Any, output: Any) -> None:
    if getattr(output, "usage", None) is not None:
        with self._lock:
            self._span_id_to_tokens[span.get_span_context().span_id] = _counts(output.usage.model_dump())


OpenAIMetricsCalculator.merge_metrics_dict = _merge
TokenCollector.collect_openai_tokens = _collect

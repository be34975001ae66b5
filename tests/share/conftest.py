"""The scripted Azure ML workspace of the fine-tuning tests."""

from tests.finetune.azure.test_backend import azure, certificate

__all__ = ["azure", "certificate"]

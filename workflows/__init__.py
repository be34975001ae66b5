"""The flows as workflows of Microsoft Agent Framework: the same library, prompts and index."""

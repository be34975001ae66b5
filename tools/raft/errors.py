"""The one exception whose text is meant for the user."""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can mend: what is wrong, where, and what to do, in one line."""

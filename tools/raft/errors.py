"""The exceptions whose text is meant for the user, and the one-line form of any other."""

from __future__ import annotations

AGAIN = "run the same command again"  # ends a message where that is what to do


class UserError(Exception):
    """A mistake the user can fix: what is wrong, where, and what to do, in one line."""

    status = 1  # exit status of the command line


class CallsFailed(UserError):
    """Not one call brought a usable reply, though nothing seems wrong with the order: run it again later."""

    status = 3


def one_line(error: object, limit: int = 200) -> str:
    """Return the message of an exception, or any text, on one line of at most `limit` characters."""
    return " ".join(str(error).split())[:limit]

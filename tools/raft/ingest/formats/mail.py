"""Read mail and web archives (MHTML): both are MIME messages."""

from __future__ import annotations

import email
import email.policy
import re
from collections import Counter
from email.message import EmailMessage
from pathlib import Path

from .html.markup import parse_markup
from .html.page import decode_page, web_encoding
from .parsed import Parsed, Unreadable, count_characters, make_parsed, name_some
from .plain import decode

_HEAD = ("From", "To", "Cc", "Date")
_MAX_DEPTH = 10  # of messages and parts in each other


def read_mail(path: str) -> Parsed:
    """Read a message: its subject as title, who wrote it to whom and when, its text; or a saved web page.

    Attachments are named in a note, and not read. Raises Unreadable if there is no text.
    """
    message = email.message_from_bytes(Path(path).read_bytes(), policy=email.policy.default)
    if not message.keys():
        raise Unreadable("broken: a mail without a header")
    reader = _MailReader()
    reader.add_message(message, 0)
    notes = [f"attachments not read: {name_some(reader.attachments)}"] if reader.attachments else []
    if not reader.texts:
        raise Unreadable(f"no text in it{f'; {notes[0]}' if notes else ''}")
    return make_parsed(
        "\n\n".join(reader.parts),
        title=_field(message, "Subject") or reader.title,
        notes=[*reader.notes, *notes],
        left_out=reader.left_out,
        seen=reader.seen,
    )


class _MailReader:
    """Collects the text of a message, part by part."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.texts = 0  # parts that are not heads
        self.title = ""  # of the first HTML part
        self.attachments: list[str] = []
        self.notes: list[str] = []
        self.left_out: Counter[str] = Counter()
        self.seen = 0

    def add_message(self, message: EmailMessage, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise Unreadable("messages nested too deeply")
        if not _is_web_page(message):
            subject = _field(message, "Subject")
            lines = [f"{name}: {value}" for name in _HEAD if (value := _field(message, name))]
            head = "\n\n".join(filter(None, [f"# {subject}" if subject else "", "\n".join(lines)]))
            self.parts += [head] if head else []
            self.seen += count_characters(head)
        self._add_part(message, depth)

    def _add_part(self, part: EmailMessage, depth: int) -> None:
        kind = part.get_content_type()
        if kind == "message/rfc822":
            for message in part.iter_parts() if part.is_multipart() else ():
                if isinstance(message, EmailMessage):
                    self.add_message(message, depth + 1)
        elif part.get_content_disposition() == "attachment":
            self.attachments.append(part.get_filename() or kind)
        elif part.is_multipart():
            if depth > _MAX_DEPTH:
                raise Unreadable("parts nested too deeply")
            self._add_parts(part, kind, depth + 1)
        elif kind in ("text/plain", "text/html"):
            parsed = _read_text_part(part)
            self.texts += bool(parsed["text"])
            self.parts += [parsed["text"]] if parsed["text"] else []
            self.title = self.title or parsed["title"]
            self.notes += parsed["notes"]
            self.left_out.update(parsed["left_out"])
            self.seen += parsed["seen"]
        elif not kind.startswith("image/") and not kind.endswith("-signature"):
            self.attachments.append(part.get_filename() or kind)

    def _add_parts(self, part: EmailMessage, kind: str, depth: int) -> None:
        parts = [inner for inner in part.iter_parts() if isinstance(inner, EmailMessage)]
        if kind == "multipart/alternative" and parts:
            self._add_part(_best_alternative(parts), depth)
        elif kind == "multipart/related":  # the first is the page; the others belong to it: images, frames
            for number, inner in enumerate(parts):
                if number == 0 or inner.get_content_disposition() == "attachment":
                    self._add_part(inner, depth)
                elif inner.get_content_type() == "text/html":
                    frame = count_characters(_read_text_part(inner)["text"])
                    self.left_out["frames of the page"] += frame
                    self.seen += frame
        else:
            for inner in parts:
                self._add_part(inner, depth)


def _is_web_page(message: EmailMessage) -> bool:
    """Return whether a message is a saved web page: nobody sent it to anybody."""
    return "@" not in _field(message, "From") and not any(_field(message, to) for to in ("To", "Cc", "Bcc"))


def _best_alternative(parts: list[EmailMessage]) -> EmailMessage:
    """Return the plain text, unless it is a mere note that there is more in another part."""
    plain = next((part for part in parts if part.get_content_type() == "text/plain"), None)
    if plain is None:
        return parts[-1]  # the sender's best form stands last
    others = [
        len(_read_text_part(inner)["text"]) for part in parts for inner in part.walk() if _is_html(inner)
    ]
    return parts[-1] if len(_read_text_part(plain)["text"]) * 3 < max(others, default=0) else plain


def _is_html(part: object) -> bool:
    return isinstance(part, EmailMessage) and part.get_content_type() == "text/html"


def _read_text_part(part: EmailMessage) -> Parsed:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    charset = part.get_content_charset() or ""
    if part.get_content_type() == "text/html":
        return parse_markup(decode(data, web_encoding(charset)) if charset else decode_page(data))
    text = decode(data, "" if charset in ("us-ascii", "ascii") else web_encoding(charset))
    if part.get_param("format") == "flowed":
        text = _unwrap(text, joined="" if str(part.get_param("delsp")).lower() == "yes" else " ")
    return make_parsed(text.strip())


def _unwrap(text: str, *, joined: str) -> str:
    """Join the lines of a paragraph that was sent as format=flowed (RFC 3676)."""
    # "-- " is the line above a signature, and ends with a blank all the same.
    return re.sub(r"(?<!^--) \r?\n(?![>\r\n])", joined, text, flags=re.MULTILINE)


def _field(message: EmailMessage, name: str) -> str:
    """Return a header field as text."""
    try:
        return " ".join(str(message[name] or "").split())
    except Exception:  # the library's parser of fields raises all kinds of errors
        raw = dict(message.raw_items()).get(name, "")
        return " ".join(str(raw).split())

"""A stored message as JSON, from a server to its client. Pure."""

from __future__ import annotations

import json
from typing import Any

import attrs

from mdirclient.errors import StoreError
from mdirclient.mail.part import MailFields, Part
from mdirclient.mail.stored import StoredMessage
from mdirclient.url import PartURL


def to_json(message: StoredMessage) -> str:
    """All of a stored message."""
    value = attrs.asdict(message, recurse=True, filter=lambda field, _: field.name != "anchor")
    return json.dumps({"anchor": str(message.anchor), **value})


def from_json(text: str | bytes) -> StoredMessage:
    """The inverse of `to_json`.

    Raises:
        StoreError: it is something else.
    """
    try:
        value = json.loads(text)
        parts = tuple(
            Part(
                **{
                    **part,
                    "within": tuple(part["within"]),
                    "described": _fields(part["described"]),
                }
            )
            for part in value["parts"]
        )
        mail = value["mail"]
        return StoredMessage(
            PartURL.parse(value["anchor"]),
            parts,
            MailFields(_fields(mail["fields"]), tuple(mail["truncated"]), mail["message_id"]),
            value["size"],
            value["sha256"],
            value["kept_whole"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"the server's answer is no stored message: {error}") from error


def _fields(value: Any) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), str(text)) for name, text in value)

"""Mail: take a message apart into leaf parts, make its bytes again, compose a new one. Pure."""

from mdirclient.mail.decompose import Decomposed, Decomposer, Shelf
from mdirclient.mail.limits import Limits
from mdirclient.mail.memory import Mail, take_apart
from mdirclient.mail.part import MailFields, Part
from mdirclient.mail.split import Splitter

__all__ = [
    "Decomposed",
    "Decomposer",
    "Limits",
    "Mail",
    "MailFields",
    "Part",
    "Shelf",
    "Splitter",
    "take_apart",
]

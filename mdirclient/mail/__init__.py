"""Mail: take a message apart into leaf parts, make its bytes again, compose a new one. Pure."""

from mdirclient.mail.decompose import Decomposed, Decomposer, Shelf
from mdirclient.mail.events import Leaf
from mdirclient.mail.limits import Limits
from mdirclient.mail.part import MailFields, Part
from mdirclient.mail.split import Splitter

__all__ = ["Decomposed", "Decomposer", "Leaf", "Limits", "MailFields", "Part", "Shelf", "Splitter"]

"""Mail: take a message apart into leaf parts, and make its bytes again. Pure."""

from mdirclient.mail.part import MailFields, Part, take_apart
from mdirclient.mail.split import Limits, Structure

__all__ = ["Limits", "MailFields", "Part", "Structure", "take_apart"]

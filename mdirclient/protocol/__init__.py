"""The protocol of mdird: bytes in, events out, no I/O (docs: formats/protocol). Pure."""

from mdirclient.protocol.client import ClientConnection
from mdirclient.protocol.messages import Batch, Refused, Reply, Request
from mdirclient.protocol.server import ServerConnection

__all__ = ["Batch", "ClientConnection", "Refused", "Reply", "Request", "ServerConnection"]

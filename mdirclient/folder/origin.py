"""The `.meta/.origin` file: which folder of which mdird `.version` counts for. Pure."""

from __future__ import annotations

import attrs

from mdirclient.errors import HeaderError
from mdirclient.header import Header


@attrs.frozen
class Origin:
    """The folder of the mdir that a local folder mirrors.

    Attributes:
        folder_id: id of the folder, whatever its names.
        epoch: of the mdird; another one means a restored server.
        name: as it was asked for; only to inform.
    """

    folder_id: str
    epoch: str
    name: str

    def to_header(self) -> Header:
        """The fields of the file."""
        return Header([("id", self.folder_id), ("epoch", self.epoch), ("name", self.name)])

    @classmethod
    def from_header(cls, header: Header, *, source: str) -> Origin:
        """Read the fields.

        Raises:
            HeaderError: `id` or `epoch` is missing.
        """
        folder_id, epoch = header.get("id"), header.get("epoch")
        if not folder_id or not epoch:
            raise HeaderError("`id` and `epoch` are needed", source)
        return cls(folder_id, epoch, header.get("name") or "")

"""The original of a stored message: made again from its directory, and checked. Reads only."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import partial
from typing import IO

from mdirclient import _fs
from mdirclient.errors import DamagedMessageError, HeaderError, RecipeError
from mdirclient.header import Header
from mdirclient.mail.rebuild import EndRecord, read_head, read_records, rebuild
from mdirclient.mail.recipe import RECIPE


def read_recipe_head(directory: str) -> Header:
    """Message-id, size and SHA-256 of a stored message.

    Raises:
        FileNotFoundError: there is no message.
        DamagedMessageError: the recipe cannot be read.
    """
    path = os.path.join(directory, RECIPE)
    with open(path, "rb") as file:
        try:
            return read_head(file)
        except (RecipeError, HeaderError) as error:
            raise DamagedMessageError(path, str(error)) from error


def open_original(directory: str) -> IO[bytes]:
    """The original bytes of a message; checked whole before they are handed out.

    Raises:
        FileNotFoundError: there is no message.
        DamagedMessageError: they cannot be made again; names the part at fault.
    """
    spooled = _fs.spool()
    try:
        for chunk in original(directory):
            spooled.write(chunk)
    except BaseException:
        spooled.close()
        raise
    spooled.seek(0)
    return spooled


def original(directory: str) -> Iterator[bytes]:
    """The original bytes as they are made; they are right only if no error follows.

    Raises:
        FileNotFoundError: there is no message.
        DamagedMessageError: see `open_original`.
    """
    path = os.path.join(directory, RECIPE)
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as recipe:
            head = read_head(recipe)
            for chunk in rebuild(read_records(recipe), partial(_open_part, directory)):
                digest.update(chunk)
                yield chunk
        if digest.hexdigest() != head.get("message-sha256"):
            raise RecipeError("the rebuilt mail is not the original")
    except (RecipeError, HeaderError) as error:
        raise DamagedMessageError(path, str(error)) from error
    except OSError as error:
        if error.errno not in _fs.NOT_A_FILE:
            raise
        raise DamagedMessageError(str(error.filename or path), str(error.strerror)) from error


def _open_part(directory: str, number: int) -> IO[bytes]:
    return open(os.path.join(directory, str(number)), "rb")


def contents(directory: str) -> tuple[EndRecord, ...]:
    """Size and SHA-256 of the original, and then of each part as it was stored.

    Raises:
        FileNotFoundError: there is no message.
        DamagedMessageError: the recipe cannot be read.
    """
    path = os.path.join(directory, RECIPE)
    with open(path, "rb") as recipe:
        try:
            head = read_head(recipe)
            ends = [one for one in read_records(recipe) if isinstance(one, EndRecord)]
            whole = EndRecord(int(head["message-size"]), head["message-sha256"])
        except (RecipeError, HeaderError, KeyError, ValueError) as error:
            raise DamagedMessageError(path, str(error)) from error
    return (whole, *ends)

"""The original of a stored message: made again from its directory, and checked. Reads only."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from typing import IO

from mdirclient import _fs
from mdirclient.errors import DamagedMessageError, HeaderError, RecipeError
from mdirclient.header import Header
from mdirclient.mail.rebuild import read_head, read_records, rebuild
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
    path = os.path.join(directory, RECIPE)
    spooled = _fs.spool()
    try:
        with open(path, "rb") as recipe:
            head = read_head(recipe)
            digest = hashlib.sha256()
            for chunk in rebuild(read_records(recipe), partial(_open_part, directory)):
                digest.update(chunk)
                spooled.write(chunk)
        if digest.hexdigest() != head.get("message-sha256"):
            raise RecipeError("the rebuilt mail is not the original")
    except (RecipeError, HeaderError) as error:
        spooled.close()
        raise DamagedMessageError(path, str(error)) from error
    except BaseException:
        spooled.close()
        raise
    spooled.seek(0)
    return spooled


def _open_part(directory: str, number: int) -> IO[bytes]:
    return open(os.path.join(directory, str(number)), "rb")

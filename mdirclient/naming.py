"""Names on disk: a suggested name made safe, the fold, the collision suffix; and names of folders
of the mdir. Pure.

A safe name is valid at once on Linux, macOS and Windows and cannot be taken for one of
the folder's own files (docs: formats/folder).

Sources: RFC 2183 §2.3 (a suggested name is a stranger's input); Microsoft, "Naming
Files, Paths, and Namespaces"; Unicode, DerivedCoreProperties.txt
(Default_Ignorable_Code_Point).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from mdirclient.errors import FolderPathError
from mdirclient.header import Header

MAX_BYTES: Final = 200
FALLBACK: Final = "unnamed"
_SHORT_BYTES: Final = 120

#: No suggested name is read further than this.
_MAX_READ: Final = 1024
_MAX_EXTENSION: Final = 32
_COMPOUND: Final = frozenset(
    ".tar.gz .tar.bz2 .tar.xz .tar.zst .tar.lz .tar.lzma .tar.Z .cpio.gz .ps.gz .svg.gz "
    ".sql.gz .json.gz .xml.gz .user.js .d.ts".lower().split()
)
_DEVICES: Final = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"]
    + [f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"]
)
#: A second name that Windows gives to a file with a long one; `META~1` is `.meta`. Whoever opens
#: or removes a file of such a name may get another file.
_SHORT_FORM: Final = re.compile(r"(?=[^.]{1,8}(?:\.|\Z))[^. ]+~[0-9]+(?:\.[^. ]{0,3})?")
_FORBIDDEN: Final = re.compile(r'[<>:"/\\|?*]')
_ROOTS: Final = re.compile(r"(?:[A-Za-z]:)?[/\\]|[A-Za-z]:(?=[/\\])|\.{1,2}[/\\]")
_SUFFIX: Final = re.compile(r" \(([1-9][0-9]{0,8})\)\Z")
_LONGEST_SUFFIX: Final = len(" (999999999)")
_BLANK_CATEGORIES: Final = frozenset(["Cc", "Zl", "Zp"])
#: In the private use area they stand for characters that are forbidden elsewhere: U+F02E is a
#: dot where Linux, macOS and Cygwin show a Windows share.
_MAPPED: Final = range(0xF000, 0xF100)
#: APFS refuses characters that Unicode has not assigned. Emoji come faster than versions of
#: Python, and have neither case nor another normal form.
_EMOJI: Final = range(0x1F000, 0x1FB00)
#: Default_Ignorable_Code_Point beyond category Cf.
_IGNORABLE: Final = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    r"\U000e0000-\U000e0fff]"
)

#: Characters of the name of a folder of the mdir, and names on the way to one.
MAX_NAME: Final = 255
MAX_DEPTH: Final = 100
_UNUSABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff/]")


def safe_name(suggested: str) -> str:
    """Make a suggested name safe; a safe name stays as it is.

    Args:
        suggested: any text whatsoever; read up to 1,024 characters.

    Returns:
        A name in NFC of 1 to 200 bytes of UTF-8, its extension kept where it fits.
    """
    if len(suggested) > _MAX_READ:
        suggested = suggested[: _MAX_READ // 2] + suggested[-_MAX_READ // 2 :]
    name = _clean(_without_roots(suggested))
    # Cutting and prefixing can uncover what has to be cleaned again; twice is enough.
    for _ in range(4):
        again = _clean(_shortened(name, MAX_BYTES))
        if again == name:
            return name
        name = again
    return FALLBACK


def plainer_name(name: str) -> str:
    """A safe name that more file systems take; the name itself when there is none.

    First one of at most 120 bytes (eCryptfs allows 143), then one of ASCII alone.
    """
    if _size(name) > _SHORT_BYTES:
        return safe_name(_shortened(name, _SHORT_BYTES))
    decomposed = unicodedata.normalize("NFKD", name)
    letters = (char for char in decomposed if not unicodedata.combining(char))
    return safe_name("".join(char if char.isascii() else "_" for char in letters))


def fallback_name(message_id: str, part: int, extension: str) -> str:
    """The safe name of a part for which the sender proposed none.

    Args:
        message_id: as in its url, with `;variant` if there is one.
        part: the part number.
        extension: with its dot, or empty.
    """
    ending = f"-{part}{extension}"
    return safe_name(message_id[: MAX_BYTES - len(ending)] + ending)


def wanted_name(header: Header, segment: str, part: int) -> str:
    """What an entry would be called: its `suggested-name`, or one made of its url and type.

    Args:
        header: of the entry.
        segment: the message-id in its url, with `;variant` if there is one.
        part: the part number.
    """
    if suggested := header.get("suggested-name"):
        return suggested
    media_type = (header.get("content-type") or "").partition(";")[0].strip()
    return fallback_name(segment, part, extension_of(media_type))


def is_form_of(name: str, wanted: str) -> bool:
    """Whether a file has a wanted name, but for its collision suffix; else a person gave it."""
    safe = safe_name(wanted)
    # What a file system refuses is written in a plainer way.
    plainer = plainer_name(safe)
    keys = {suffix_key(each)[0] for each in (safe, plainer, plainer_name(plainer))}
    return suffix_key(name)[0] in keys or suffix_key(safe_name(name))[0] in keys


def is_own_name(name: str, header: Header, segment: str, part: int) -> bool:
    """Whether the user gave an entry's file a name of their own; see `wanted_name`."""
    return not is_form_of(name, wanted_name(header, segment, part))


def extension_of(media_type: str) -> str:
    """The usual extension of a media type, with its dot; empty if unknown."""
    known = _EXTENSIONS.get(media_type.lower())
    if known is not None:
        return known
    import mimetypes  # not needed for the types that make up nearly all mail

    # Without the system's files: the same name on every system.
    return mimetypes.MimeTypes(filenames=()).guess_extension(media_type) or ""


_EXTENSIONS: Final = {
    "text/plain": ".txt",
    "text/html": ".html",
    "text/calendar": ".ics",
    "message/rfc822": ".eml",
    "message/delivery-status": ".txt",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "application/octet-stream": ".bin",
    "application/pgp-signature": ".asc",
    "application/pkcs7-signature": ".p7s",
}


def fold(name: str) -> str:
    """The key under which two names are the same file on some system.

    NFC, case and ignorable characters make no difference.
    """
    if name.isascii():
        return name.casefold()
    visible = _IGNORABLE.sub("", "".join(c for c in name if unicodedata.category(c) != "Cf"))
    folded = unicodedata.normalize("NFD", visible).casefold()
    return unicodedata.normalize("NFC", _IGNORABLE.sub("", folded))


def split_extension(name: str) -> tuple[str, str]:
    """Split into stem and extension (with its dot); `archive.tar.gz` has `.tar.gz`."""
    stem, dot, last = name.rpartition(".")
    if not dot or not stem or not last or len(last) > _MAX_EXTENSION or " " in last:
        return name, ""
    inner, inner_dot, before = stem.rpartition(".")
    compound = f".{before}.{last}"
    if inner_dot and inner and compound.lower() in _COMPOUND:
        return inner, compound
    return stem, f".{last}"


def with_suffix(name: str, number: int) -> str:
    """The name with a collision suffix: `report.pdf`, 2 → `report (2).pdf`.

    A suffix that it has gives way to the new one. The result has at most 200 bytes; the
    stem is cut for it.
    """
    stem, extension = split_extension(name)
    if match := _SUFFIX.search(stem):
        stem = stem[: match.start()]
    suffix = f" ({number}){extension}"
    return _cut(stem, MAX_BYTES - _size(suffix)).rstrip(" .") + suffix


def with_conflict(name: str, word: str) -> str:
    """The name of one of two versions: `report.pdf` → `report (conflict 2026-11-22).pdf`."""
    stem, extension = split_extension(name)
    suffix = f" (conflict {word}){extension}"
    return _cut(stem, MAX_BYTES - _size(suffix)).rstrip(" .") + suffix


def suffix_key(name: str) -> tuple[str, int]:
    """The key of all names that differ in their collision suffix only, and the number.

    `report.pdf` and `report (2).pdf` share a key, with 1 and 2. Names so long that a suffix
    shortens them share it with their shortened form.
    """
    # HFS+ lists names decomposed; where a name is cut must not depend on that.
    name = name if name.isascii() else unicodedata.normalize("NFC", name)
    stem, extension = split_extension(name)
    number = 1
    if match := _SUFFIX.search(stem):
        stem, number = stem[: match.start()], int(match[1])
    room = MAX_BYTES - _size(extension) - _LONGEST_SUFFIX
    return fold(f"{_cut(stem, room).rstrip(' .')}/{extension}"), number


def _without_roots(name: str) -> str:
    """Drop a drive, a root and leading `./`, `../`: where the sender kept the file."""
    while match := _ROOTS.match(name):
        name = name[match.end() :]
    return name


def _clean(name: str) -> str:
    if not name.isascii() or not name.isprintable():
        name = "".join(_clean_char(char) for char in name)
        name = unicodedata.normalize("NFC", name)
    name = _FORBIDDEN.sub("_", name).strip(" ").rstrip(" .")
    if _SHORT_FORM.fullmatch(name):
        name = name.replace("~", "_")
    folded = fold(name)
    # What is left of it when ignorable characters are ignored must be a safe name too.
    if not folded.replace(".", " ").strip():
        return FALLBACK
    return f"_{name}" if folded.startswith(".") or _is_device(folded) else name


def _clean_char(char: str) -> str:
    category = unicodedata.category(char)
    if category == "Cf":
        return ""
    if category in _BLANK_CATEGORIES:
        return " "
    is_unknown = category == "Cn" and ord(char) not in _EMOJI
    return "_" if category == "Cs" or is_unknown or ord(char) in _MAPPED else char


def _is_device(folded: str) -> bool:
    return folded.partition(".")[0].rstrip(" ") in _DEVICES


def _shortened(name: str, limit: int) -> str:
    if _size(name) <= limit:
        return name
    stem, extension = split_extension(name)
    return _cut(stem, limit - _size(extension)) + extension


def _cut(text: str, limit: int) -> str:
    """The beginning whose `_size` is at most `limit`, whole characters only."""
    # Names found on disk may be no UTF-8; Python shows such bytes as lone surrogates.
    cut = text.encode("utf-8", "surrogatepass")[: max(limit, 0)].decode("utf-8", "ignore")
    while _size(cut) > max(limit, 0):
        cut = cut[:-1]
    return cut


def _size(text: str) -> int:
    """Bytes of UTF-8, or units of UTF-16 in NFD (HFS+ allows 255) if these are more."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size == len(text):
        return size
    decomposed = unicodedata.normalize("NFD", text).encode("utf-16-le", "surrogatepass")
    return max(size, len(decomposed) // 2)


# -- folders of the mdir


def check_name(name: str) -> str:
    """The name of one folder in its parent: 1 to 255 characters, no `/`, no control characters.

    Raises:
        FolderPathError: it cannot be one.
    """
    if not name or len(name) > MAX_NAME:
        raise FolderPathError(name, f"a name has 1 to {MAX_NAME} characters")
    if name in (".", "..") or _UNUSABLE.search(name):
        raise FolderPathError(name, "`.`, `..`, `/` and control characters are not allowed")
    return name


def split_path(folder: str) -> tuple[str, ...]:
    """The names on the way from the root; empty for the root itself (`/` or an empty text).

    Raises:
        FolderPathError: a name is not allowed.
    """
    path = folder.strip("/")
    names = tuple(check_name(name) for name in path.split("/")) if path else ()
    if len(names) > MAX_DEPTH:
        raise FolderPathError(folder, f"more than {MAX_DEPTH} levels")
    return names

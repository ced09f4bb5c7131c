"""Hostile names by the million, against what three systems say of names.

    .venv/bin/python -m tests.benchmarks.names [COUNT]

The oracles are written from the systems' own documentation, not from `mdirclient.naming`:
Linux (path_resolution(7)), macOS (HFS+: Apple TN1150; APFS refuses unassigned characters),
Windows ("Naming Files, Paths, and Namespaces"), and pathvalidate beside them.
"""

from __future__ import annotations

import os
import random
import sys
import unicodedata
from collections.abc import Iterator

import attrs
from pathvalidate import Platform, is_valid_filename

from mdirclient.naming import fold, safe_name, with_suffix

SEEDS = [
    *(
        "",
        ".",
        "..",
        "...",
        "/",
        "\\",
        "./",
        "../",
        "..\\",
        "//",
        "C:",
        "C:\\",
        "c:/",
        "\\\\srv\\s",
    ),
    *(".meta", ".version", ".origin", ".journal", "META~1", "VERSIO~1", "VERSI~10", "ME3108~1"),
    *("\u200b.meta", ".me\u200dta", "\ufe0f.version", "\u3164.meta", "\ufff0.version", ".version."),
    *("\uf02emeta", ".meta:x", "a:b", "a::$DATA", "x\u202egpj.exe", "\u2066a\u2069", "\ufeffa"),
    *("con", "CON", "con .txt", "CONIN$", "conout$.x", "COM¹", "lpt³.txt", "NUL:", "nul.tar.gz"),
    *("aux.", "clock$", "CON..txt", "con\u200b", "co\ufe0fn", "AUX.\u200b"),
    *("\x00", "\x1f", "\x7f", "\x85", "\u2028", "\ud800", "\udfff", "\udc80", "\ufffe", "\ufdd0"),
    *("e\u0301", "\u0301", "\u0344", "\u1100\u1161\u11a8", "\u0958", "\u2126", "İ", "ß", "ſ", "Å"),
    *(" ", "  ", "\xa0", "\u3000", ". ", " .", ".\u0338", "<\u0338", "．", "／", "＼", "：", "․"),
    *(".pdf", ".tar.gz", " (2)", " (999999999)", "report", "image001.png", "~", "-rf", "$MFT"),
    *("a" * 199, "a" * 200, "a" * 5000, "é" * 100, "ΐ" * 100, "漢" * 66, "😀" * 50, "." * 99),
]
_WINDOWS_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"} | {
    port + digit for port in ("COM", "LPT") for digit in "0123456789¹²³"
}


@attrs.frozen
class Found:
    """How many names were tried, and how many were wrong in each way."""

    names: int
    invalid: int
    outside: int
    changed: int


def is_valid_on_linux(name: str) -> bool:
    """Bytes, no slash, no NUL, not the directory itself."""
    data = name.encode("utf-8", "strict")
    return (
        0 < len(data) <= 255 and b"/" not in data and b"\0" not in data and name not in (".", "..")
    )


def is_valid_on_macos(name: str) -> bool:
    """255 units of UTF-16 decomposed; no colon; assigned characters only."""
    decomposed = unicodedata.normalize("NFD", name)
    units = len(decomposed.encode("utf-16-le")) // 2
    assigned = all(
        unicodedata.category(char) not in ("Cn", "Cs") or 0x1F000 <= ord(char) < 0x1FB00
        for char in name
    )
    return 0 < units <= 255 and not set(name) & set("/:\0") and assigned


def is_valid_on_windows(name: str) -> bool:
    """No reserved character or device, no blank or dot at the end, no 8.3 form."""
    units = len(name.encode("utf-16-le")) // 2
    is_reserved = any(char in '<>:"/\\|?*' or ord(char) < 32 for char in name)
    base, _, extension = name.partition(".")
    stem = base.rstrip(" ").upper()
    tilde = base.rpartition("~")
    digits = tilde[2].isascii() and tilde[2].isdecimal()
    is_short = digits and len(base) <= 8 and len(extension) <= 3
    is_short = is_short and " " not in name and "." not in extension and bool(tilde[0])
    return (
        0 < units <= 255
        and not is_reserved
        and stem not in _WINDOWS_DEVICES
        and name[-1] not in " ."
        and not is_short
    )


def is_inside(name: str) -> bool:
    """Whether a file of this name is one of the folder's own directory, and visible."""
    path = os.path.normpath(os.path.join("/folder", name))
    return os.path.dirname(path) == "/folder" and not fold(name).startswith(".")


def generated(count: int, seed: int = 1) -> Iterator[str]:
    """Hostile names: seeds, put together and damaged, and random Unicode of all planes."""
    chance = random.Random(seed)
    for _ in range(count):
        parts = [chance.choice(SEEDS) for _ in range(chance.choice([1, 1, 2, 2, 3, 5]))]
        if chance.random() < 0.5:
            parts.insert(chance.randrange(len(parts) + 1), random_text(chance))
        name = "".join(parts)
        if name and chance.random() < 0.3:
            cut = chance.randrange(len(name))
            name = name[:cut] + random_text(chance) + name[cut + 1 :]
        yield chance.choice([name, name, name.upper(), unicodedata.normalize("NFD", name)])


def random_text(chance: random.Random) -> str:
    """A few characters from anywhere, blocks of trouble more often."""
    limits = chance.choice(
        [(0, 0x80), (0x80, 0x3000), (0x300, 0x370), (0x2000, 0x2070), (0, 0x110000)]
    )
    return "".join(chr(chance.randrange(*limits)) for _ in range(chance.randrange(1, 8)))


def counted(count: int, seed: int = 1) -> Found:
    """Try so many names."""
    invalid = outside = changed = 0
    for number, suggested in enumerate(generated(count, seed)):
        name = safe_name(suggested)
        if number % 4 == 0:
            name = with_suffix(name, 2 + number)
        is_valid = is_valid_on_linux(name) and is_valid_on_macos(name) and is_valid_on_windows(name)
        if is_valid and number % 10 == 0:
            is_valid = all(is_valid_filename(name, platform=system) for system in Platform)
        invalid += not is_valid or len(name.encode()) > 200
        outside += not is_inside(name)
        changed += safe_name(name) != name
    return Found(count, invalid, outside, changed)


def main() -> None:
    """Print what was found."""
    found = counted(int(sys.argv[1]) if sys.argv[1:] else 1_000_000)
    print(f"{found.names:,} names: {found.invalid} invalid, {found.outside} outside the folder,")
    print(f"{found.changed} that are not safe as they are")


if __name__ == "__main__":
    main()

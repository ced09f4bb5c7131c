"""Names on disk. Source of the hostile ones: the pitfalls of other tools."""

from __future__ import annotations

import unicodedata

import pytest

from mdirclient.naming import (
    extension_of,
    fallback_name,
    fold,
    safe_name,
    split_extension,
    suffix_key,
    with_suffix,
)


@pytest.mark.parametrize(
    ("suggested", "expected"),
    [
        ("photo.jpg", "photo.jpg"),
        ("Rapport été 2026.pdf", "Rapport été 2026.pdf"),
        ("../../etc/passwd", "etc_passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/etc/passwd", "etc_passwd"),
        ("C:\\Docs\\x.doc", "Docs_x.doc"),
        ("Invoice 12/2026.pdf", "Invoice 12_2026.pdf"),
        (".version", "_.version"),
        (".version.", "_.version"),
        (".meta", "_.meta"),
        ("\u200b.meta", "_.meta"),
        (".me\u200dta", "_.meta"),
        ("\u3164.meta", "_\u3164.meta"),
        ("\ufe0f.version", "_\ufe0f.version"),
        ("\ufe0f\u034f", "unnamed"),
        ("META~1", "META_1"),
        ("me3108~1", "me3108_1"),
        ("LONGNA~1.TXT", "LONGNA_1.TXT"),
        ("backup~1.html", "backup~1.html"),
        ("\uf02emeta", "_meta"),
        ("\ufff0.version", "_.version"),
        ("a\ufffe\ufdd0\u2065b", "a___b"),
        ("\U0001fae8.png", "\U0001fae8.png"),
        ("\u3000", "unnamed"),
        ("\xa0.", "unnamed"),
        ("con .txt", "_con .txt"),
        ("CON", "_CON"),
        ("nul.tar.gz", "_nul.tar.gz"),
        ("CONIN$", "_CONIN$"),
        ("COM¹", "_COM¹"),
        ("console.txt", "console.txt"),
        ("a:b", "a_b"),
        ("x\u202egpj.exe", "xgpj.exe"),
        ("a\ud800b", "a_b"),
        ("a\r\nb\tc\x00", "a  b c"),
        ("a\u2028b", "a b"),
        ("name. . ", "name"),
        ("...", "unnamed"),
        ("", "unnamed"),
        ("   ", "unnamed"),
        ("re\u0301sume\u0301.pdf", "résumé.pdf"),
        ("e\u200d\u0301", "é"),
        ('<>:"/\\|?*', "_________"),
    ],
)
def test_safe_name(suggested: str, expected: str) -> None:
    """Safe on Linux, macOS and Windows at once; a safe name stays as it is."""
    assert expected == safe_name(suggested)
    assert expected == safe_name(expected)


@pytest.mark.parametrize(
    ("suggested", "ending"),
    [("a" * 5000 + ".pdf", ".pdf"), ("é" * 300 + ".tar.gz", ".tar.gz"), ("😀" * 99, "😀")],
)
def test_long_names_keep_the_extension(suggested: str, ending: str) -> None:
    """At most 200 bytes of UTF-8, whole characters."""
    name = safe_name(suggested)
    assert 190 <= len(name.encode()) <= 200
    assert name.endswith(ending)
    assert name == safe_name(name)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("report.pdf", ("report", ".pdf")),
        ("archive.tar.gz", ("archive", ".tar.gz")),
        ("archive.TAR.GZ", ("archive", ".TAR.GZ")),
        ("a.b.c", ("a.b", ".c")),
        ("README", ("README", "")),
        ("Mr. Smith", ("Mr. Smith", "")),
        ("a." + "x" * 40, ("a." + "x" * 40, "")),
    ],
)
def test_split_extension(name: str, parts: tuple[str, str]) -> None:
    """Compound extensions stay together."""
    assert parts == split_extension(name)


def test_suffix_stands_before_the_extension() -> None:
    """And the longest name still has room for it."""
    assert "report (2).pdf" == with_suffix("report.pdf", 2)
    assert "archive (10).tar.gz" == with_suffix("archive.tar.gz", 10)
    longest = with_suffix(safe_name("a" * 300 + ".pdf"), 999_999_999)
    assert 200 == len(longest.encode())
    assert longest.endswith(" (999999999).pdf")


@pytest.mark.parametrize("name", ["report.pdf", safe_name("a" * 300 + ".pdf"), "é" * 100])
def test_suffix_key_is_shared_by_all_suffixes(name: str) -> None:
    """So the next suffix is found without trying."""
    key, number = suffix_key(name)
    assert 1 == number
    for suffix in (2, 10, 123456789):
        assert (key, suffix) == suffix_key(with_suffix(name, suffix))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Photo.JPG", "photo.jpg"),
        ("caf\u00e9", "cafe\u0301"),
        ("STRASSE", "straße"),
        ("a\u200bb", "ab"),
        ("a\ufe0f", "a"),
        ("\u212a", "k"),
    ],
)
def test_fold(one: str, other: str) -> None:
    """Names that are one file somewhere are one everywhere."""
    assert fold(one) == fold(other)


def test_fold_of_a_fold_is_the_same() -> None:
    """For every character."""
    for code in range(0x10000):
        char = chr(code)
        if unicodedata.category(char) != "Cs":
            assert fold(char) == fold(fold(char)), hex(code)


@pytest.mark.parametrize(
    ("media_type", "extension"),
    [
        ("text/plain", ".txt"),
        ("TEXT/HTML", ".html"),
        ("message/rfc822", ".eml"),
        ("application/pdf", ".pdf"),
        ("application/x-unheard-of", ""),
        ("nonsense", ""),
    ],
)
def test_extension_of(media_type: str, extension: str) -> None:
    """The same on every system."""
    assert extension == extension_of(media_type)


def test_fallback_name() -> None:
    """The message-id, the part and the extension of its type, made safe."""
    assert "one@x.org-2.txt" == fallback_name("one@x.org", 2, ".txt")
    assert "a_b_c@x-1" == fallback_name("a<b>c@x", 1, "")
    assert fallback_name("x" * 200, 2, ".txt").endswith("x-2.txt")


@pytest.mark.parametrize("char", ["\u0390", "\u1f82", "\u1fb7", "한"])
def test_long_names_fit_decomposed(char: str) -> None:
    """HFS+ allows 255 units of UTF-16 after decomposition."""
    for name in (safe_name(char * 200), with_suffix(safe_name(char * 200), 999_999_999)):
        assert len(unicodedata.normalize("NFD", name).encode("utf-16-le")) // 2 <= 255
        assert name == safe_name(name)


def test_suffix_key_of_a_decomposed_name() -> None:
    """HFS+ lists names decomposed."""
    name = safe_name("한" * 99 + ".pdf")
    assert suffix_key(name) == suffix_key(unicodedata.normalize("NFD", name))

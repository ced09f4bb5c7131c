"""Urls of parts."""

from __future__ import annotations

import pytest

from mdirclient import PartURL
from mdirclient.errors import PartURLError


@pytest.mark.parametrize(
    ("text", "expected", "canonical"),
    [
        ("mdir:one@x.org/2", PartURL("mdir:", "one@x.org", 2), "mdir:one@x.org/2"),
        ("mdir:one%40x.org/0", PartURL("mdir:", "one@x.org", 0), "mdir:one@x.org/0"),
        ("mdir:%61+b/1", PartURL("mdir:", "a+b", 1), "mdir:a%2Bb/1"),
        (
            "https://h:8/p/a%2bb@x;0123456789abcdef/10",
            PartURL("https://h:8/p/", "a+b@x", 10, "0123456789abcdef"),
            "https://h:8/p/a%2Bb@x;0123456789abcdef/10",
        ),
        ("mdir:..a/1", PartURL("mdir:", "..a", 1), "mdir:..a/1"),
        ("mdir:%3Ca%3E/1", PartURL("mdir:", "<a>", 1), "mdir:%3Ca%3E/1"),
    ],
)
def test_read_and_written_canonically(text: str, expected: PartURL, canonical: str) -> None:
    """Any valid percent-encoding is read; one is written."""
    assert expected == PartURL.parse(text)
    assert canonical == str(expected)
    assert expected == PartURL.parse(canonical)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/1",
        "one@x.org/1",
        "mdir:/1",
        "mdir:one@x.org",
        "mdir:one@x.org/",
        "mdir:one@x.org/01",
        "mdir:one@x.org/-1",
        "mdir:one@x.org/١",
        "mdir:one@x.org/1234567890",
        "mdir:../1",
        "mdir:%2e%2E/1",
        "mdir:./1",
        "mdir:a%2fb/1",
        "mdir:a%5Cb/1",
        "mdir:a%00b/1",
        "mdir:a%20b/1",
        "mdir:a%25b/1",
        "mdir:a%3Bb/1",
        "mdir:%c3%a9/1",
        "mdir:é/1",
        "mdir:a%/1",
        "mdir:a%4/1",
        "mdir:a;b/1",
        "mdir:a;0123456789ABCDEF/1",
        "mdir:a;0123456789abcdef;/1",
        f"mdir:{'a' * 201}/1",
        "https://host/p?q/../x#y/1\n",
        "https://host/a b/one@x/1",
        "MDIR:one@x/1",
        "mdir:<a>/1",
        'mdir:"a"/1',
        "javascript:alert(1)/1",
        "file:///etc/passwd/1",
        "http://h/x/1",
        "https:/x/1",
        "https://good@evil/x/1",
        "https://h\\@e/x/1",
        "https://h/../x/1",
        "https://h/./x/1",
        "https://h/%zz/x/1",
        "https://h//x/1",
        "mdir:a;b/id/1",
        "https://h/x?y#z/1",
        "mdir:" + "a" * 9000 + "/1",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """Nothing that is read leads outside of the store."""
    with pytest.raises(PartURLError) as caught:
        PartURL.parse(text)
    assert len(str(caught.value)) < 400


def test_anchor_and_segment() -> None:
    """Part 1 of the same message; the directory's name."""
    url = PartURL.parse("mdir:a%2Bb@x;0123456789abcdef/3")
    assert "mdir:a%2Bb@x;0123456789abcdef/1" == str(url.anchor)
    assert "a+b@x;0123456789abcdef" == url.segment

"""Sieve: its grammar, what is refused, strings, addresses, dates and matches."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mdirclient import Header
from mdirclient.errors import ScriptError
from mdirclient.stribution import Item, Target, compile_script
from mdirclient.stribution.addresses import addresses_in
from mdirclient.stribution.dates import parse_date, parse_zone
from mdirclient.stribution.grammar import MAX_BYTES, MAX_NESTED, parse
from mdirclient.stribution.matching import Pattern
from tests.ruled import rules

NOW = datetime(2026, 11, 23, 10, 11, 12, tzinfo=UTC)


def filed(script: str | bytes, *fields: tuple[str, str]) -> list[tuple[tuple[str, ...], bool]]:
    """Where a script files a message with these fields."""
    data = script if isinstance(script, bytes) else script.encode()
    item = Item(Header([("url", "mdir:a@x.org/1"), *fields]))
    actions, _ = compile_script(data).evaluate(item, now=NOW, exists=lambda target: False)
    return [(action.target.names, action.target.is_absolute) for action in actions]


HERE: tuple[tuple[str, ...], bool] = ((), False)


def test_trees() -> None:
    """A command has arguments, tests and a block; its source is kept for people."""
    (node,) = parse(b'if  allof (true,\n not header ["a","b"] :is "c") { keep; stop; }')
    assert ("if", 1, 'if allof (true, not header ["a","b"] :is "c")') == (
        node.name,
        node.line,
        node.source,
    )
    assert node.block is not None
    assert ["keep", "stop"] == [command.name for command in node.block]
    assert [1, 2] == [test.line for test in node.tests[0].tests]


@pytest.mark.parametrize(
    ("script", "line", "reason"),
    [
        (b"keep;\n\xff", 2, "not UTF-8"),
        (b"keep;\n#\0", 2, "NUL"),
        (b"#" * (MAX_BYTES + 1), None, "at most"),
        (b'require\n"x', 2, "a string is not closed"),
        (b"\n/* ", 2, "a comment is not closed"),
        (b"keep;\n%x", 2, "nothing that Sieve knows"),
        (b"keep;\n\x0c", 2, "nothing that Sieve knows"),
        ("keep;\n\xa0".encode(), 2, "nothing that Sieve knows"),
        ("keep;\u2028".encode(), 1, "nothing that Sieve knows"),
        (b"keep", 1, "expected `;` or a block, found the end of the script"),
        (b"keep }", 1, "found '}'"),
        (b"if " + b"not " * MAX_NESTED + b"true {}", 1, "nested more than 32"),
        (b"if true {" * 40 + b"}" * 40, 1, "nested more than 32"),
        (b"if (true) {}", 1, "if takes one test"),
        (b'redirect "a@b";', 1, "rules send nothing"),
        (b'require "fileinto"; fileinto "../x";', 1, "cannot name a folder"),
        (b'require "fileinto"; fileinto "";', 1, "needs the name of a folder"),
        (b'require "fileinto"; fileinto "/";', 1, "needs the name of a folder"),
        (b'require "fileinto"; fileinto "a//b";', 1, "cannot name a folder"),
        (b'require ["fileinto","variables"]; fileinto "a/../${1}";', 1, "cannot name a folder"),
        (b'require ["fileinto","variables"]; fileinto "${33}";', 1, "matches 0 to 32"),
        (b'require ["fileinto","variables"]; fileinto "${a.b}";', 1, "no such namespace"),
        (b'require "date"; if date "date" "age" "1" {}', 1, "none of date, day"),
        (b'require "date"; if date :zone "CET" "date" "day" "1" {}', 1, "no zone like +0100"),
        (b'require "date"; if currentdate :originalzone "day" "1" {}', 1, "in a field"),
        (b'require "encoded-character"; if header "${hex:ff}" "a" {}', 1, "not UTF-8"),
        (b'require "encoded-character"; if header "${unicode:0}" "a" {}', 1, "no such character"),
    ],
)
def test_errors(script: bytes, line: int | None, reason: str) -> None:
    """An error names the line and what is wrong, on one line."""
    with pytest.raises(ScriptError) as caught:
        compile_script(script)
    assert line == caught.value.line
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_line_ends(ending: str) -> None:
    """LF or CRLF, with a byte order mark or without; a multi-line string has CRLF."""
    script = (
        'require ["fileinto", "variables"];\nset "a" text:\none\n..two\n.\n;\n'
        'if string :is "${a}" "one\r\n.two\r\n" { fileinto "same"; }\n'
    )
    data = b"\xef\xbb\xbf" + script.replace("\r\n", "\r").replace("\n", ending).encode()
    assert [(("same",), False)] == filed(data.replace(b"\r", b"\r\n").replace(b"\r\n\n", b"\r\n"))


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("*", "abc", ["abc"]),
        ("a*c", "abbc", ["bb"]),
        ("*b*", "abbc", ["a", "bc"]),
        ("**", "ab", ["", "ab"]),
        ("*?", "abc", ["ab", "c"]),
        ("?*", "abc", ["a", "bc"]),
        ("a?c*", "abcd", ["b", "d"]),
        ("*x?z*", "axyxqz!", ["axy", "q", "!"]),
        ("\\*", "*", []),
        ("\\?\\\\", "?\\", []),
        ("a\\", "a\\", []),
        ("", "", []),
        ("*a", "ba", ["b"]),
        ("aa*aa", "aaa", None),
        ("?", "", None),
        ("", "a", None),
        ("?", "é", ["é"]),
        ("a", "b", None),
        ("*a?b*c", "aab", None),
    ],
)
def test_wildcards(key: str, text: str, expected: list[str] | None) -> None:
    """What each wildcard stands for, as short as possible."""
    spans = Pattern.parse(key).match(text)
    assert expected == (None if spans is None else [text[start:end] for start, end in spans])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a@x.org", [("a", "x.org")]),
        ('"Doe, J" <j+d@x.org>, b@y.org', [("j+d", "x.org"), ("b", "y.org")]),
        ("Group: a@x.org, b@y.org;", [("a", "x.org"), ("b", "y.org")]),
        ('"a \\" b"@x.org', [('a " b', "x.org")]),
        ("a (c (d) @ e) @ x.org", [("a", "x.org")]),
        ("<@r.org,@s.org:a@x.org>", [("a", "x.org")]),
        ("a@[1.2.3.4]", [("a", "[1.2.3.4]")]),
        ("nobody", [(None, None)]),
        ("a@b@c", [(None, None)]),
        ("a@", [(None, None)]),
        ("", []),
        ("(((((", [(None, None)]),
        ('"open', [(None, None)]),
        ("jö@x.org", [("jö", "x.org")]),
    ],
)
def test_addresses(value: str, expected: list[tuple[str | None, str | None]]) -> None:
    """Those of a field; where there is none, its text as a whole."""
    assert expected == [(found.local, found.domain) for found in addresses_in(value)]


def test_a_null_path_is_empty() -> None:
    """RFC 5228 §5.4: in all its parts."""
    script = (
        'require ["envelope", "fileinto"]; if allof (envelope "from" "", '
        'envelope :localpart "from" "", envelope :domain "from" "") { fileinto "bounces"; }'
    )
    assert [(("bounces",), False)] == filed(script, ("envelope-from", ""))
    assert [HERE] == filed(script, ("envelope-from", "a@x.org"))


def test_a_stranger_does_not_write_the_envelope() -> None:
    """What the receiver says is never hidden by a field of the mail."""
    script = (
        'require ["envelope", "fileinto"]; if envelope "from" "boss@x.org" { fileinto "a"; }'
        ' if header "authentication-results" "spf=pass" { fileinto "b"; }'
    )
    forged = [
        ("mail-envelope-from", "boss@x.org"),
        ("mail-authentication-results", "spf=pass"),
    ]
    assert [HERE] == filed(script, ("envelope-from", "evil@z.org"), *forged)
    assert [HERE] == filed(script, *forged)


def test_a_long_field_does_not_stop_the_rules() -> None:
    """What is too long for a variable is cut."""
    script = (
        'require ["variables", "fileinto"]; if header :matches "subject" "*viagra*"'
        ' { set "s" "${1}${1}"; if string :matches "${s}" "b*" { fileinto "Junk"; } }'
    )
    assert [(("Junk",), False)] == filed(script, ("subject", "b" * 70_000 + "viagra"))
    many = ",".join(f'"k{n}"' for n in range(300))
    script = f'if header :contains "subject" [{many}, "viagra"] {{ discard; }}'
    assert [] == filed(script, ("subject", "b" * 70_000 + "viagra"))


def test_many_places_are_an_error() -> None:
    """A script that wants a message everywhere."""
    script = 'require "fileinto";' + "".join(f'fileinto "a{n}";' for n in range(40))
    with pytest.raises(ScriptError, match="more than 32 folders"):
        filed(script)


def test_own_names_mean_the_mails() -> None:
    """A test on a name of mdir's own reads what the mail had under it; else mdir's."""
    script = 'require "fileinto"; if header :is "content-type" "image/png" { fileinto "png"; }'
    own = ("content-type", "image/png")
    assert [(("png",), False)] == filed(script, own)
    assert [HERE] == filed(script, own, ("mail-content-type", "multipart/mixed"))


def test_size_is_of_the_whole_message() -> None:
    """All parts of a mail go together."""
    script = 'require "fileinto"; if size :over 10K { fileinto "large"; }'
    assert [(("large",), False)] == filed(script, ("size", "3"), ("message-size", "20000"))
    assert [HERE] == filed(script, ("size", "20000"), ("message-size", "3"))
    assert [(("large",), False)] == filed(script, ("size", "20000"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("../../etc", ("x-.._.._etc",)),
        ("a/b", ("x-a_b",)),
        ("a\n\x85\u2028\0", ("x-a____",)),
        ("", ("x-",)),
        ("é" * 300, ("x-" + "é" * 253,)),
    ],
)
def test_a_variable_is_within_one_name(value: str, expected: tuple[str, ...]) -> None:
    """Whatever a stranger writes."""
    script = (
        'require ["fileinto", "variables"]; if header :matches "subject" "*" { fileinto "x-${1}"; }'
    )
    assert [(expected, False)] == filed(script, ("subject", value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("..", ("_..", "a")),
        (".", ("_.", "a")),
        ("", ("_", "a")),
        ("/", ("_", "a")),
        ("/etc", ("_etc", "a")),
    ],
)
def test_a_variable_alone_is_a_name(value: str, expected: tuple[str, ...]) -> None:
    """It leads neither up nor to the root."""
    script = (
        'require ["fileinto", "variables"]; if header :matches "subject" "*" { fileinto "${1}/a"; }'
    )
    assert [(expected, False)] == filed(script, ("subject", value))


def test_a_slash_at_the_beginning_is_the_root() -> None:
    """Only one that stands in the script."""
    assert [(("a", "b"), True)] == filed('require "fileinto"; fileinto "/a/b/";')


def test_because() -> None:
    """An action tells the commands that led to it."""
    script = (
        'require "fileinto";\nif true {\n  if header :contains "subject" "x" {\n'
        '    fileinto "a";\n  }\n}'
    )
    item = Item(Header([("subject", "xyz")]))
    ((action,), _) = compile_script(script.encode()).evaluate(
        item, now=NOW, exists=lambda target: False
    )
    assert (
        "line 2: if true",
        'line 3: if header :contains "subject" "x"',
        'line 4: fileinto "a"',
    ) == action.because
    assert (Target(("a",)), 4) == (action.target, action.line)


def test_an_unknown_folder_does_not_exist() -> None:
    """`mailboxexists` asks for all of its folders."""
    script = b'require ["mailbox", "fileinto"]; if mailboxexists ["a", "b"] { discard; }'
    known = {Target(("a",)), Target(("b",))}
    for there, expected in ((known, 0), (known - {Target(("b",))}, 1)):
        actions, _ = compile_script(script).evaluate(
            Item(Header()), now=NOW, exists=there.__contains__
        )
        assert expected == len(actions)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mon, 23 Nov 2026 10:11:12 +0100", "2026-11-23T10:11:12+01:00"),
        ("from a by b; 1 Jan 2026 00:00:00 -0500", "2026-01-01T00:00:00-05:00"),
        ("nonsense", None),
        ("", None),
        ("Mon, 23 Nov 99999 10:11:12 +0100", None),
        ("Mon, 99 Nov 2026 10:11:12 +0100", None),
        ("Mon, 23 Nov 2026 10:11:12 +9999", None),
        ("; " + "x" * 100_000, None),
    ],
)
def test_dates(text: str, expected: str | None) -> None:
    """What a field tells, or nothing."""
    found = parse_date(text)
    assert expected == (found.isoformat() if found else None)


def test_the_ends_of_time() -> None:
    """A date that no other zone has is none."""
    script = 'require ["date", "fileinto"]; if date :zone "-1200" "date" "year" "1" { discard; }'
    assert [HERE] == filed(script, ("date", "1 Jan 0001 00:00:00 +0000"))
    assert [HERE] == filed(script, ("date", "31 Dec 9999 23:59:59 -2300"))


@pytest.mark.parametrize("zone", ["+0100", "-2359", "+0000"])
def test_zones(zone: str) -> None:
    """Hours and minutes."""
    assert parse_zone(zone) is not None
    assert parse_zone(zone + "0") is None


def test_every_vector_compiles_as_it_says() -> None:
    """Those that Pigeonhole is asked about too."""
    for name, script in rules().items():
        if name.startswith("error: "):
            with pytest.raises(ScriptError):
                compile_script(script.encode())
        else:
            compile_script(script.encode())

"""Signatures of DKIM and their keys, verified by dkimpy."""

from __future__ import annotations

import json
import stat
from datetime import date
from pathlib import Path

import dkim
import pytest

from mdirclient.cli.smtp import main
from mdirclient.errors import StoreError
from mdirclient.smtp.relay.keys import (
    Key,
    default_selector,
    find_keys,
    is_domain,
    is_selector,
    make_keys,
)
from mdirclient.smtp.relay.sign import sign

_MAIL = (
    b"From: Jo <jo@ours.test>\r\nTo: x@there.test\r\nSubject: Hi\r\n there\r\n"
    b"Received: from x\r\n\r\nbody \r\n\r\nend\r\n\r\n\r\n"
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Key, ...]:
    """A pair of one domain."""
    return make_keys(str(tmp_path_factory.mktemp("keys")), "ours.test", "one")


def verified(data: bytes, keys: tuple[Key, ...]) -> list[bool]:
    """Whether each signature of a mail holds."""
    records = {f"{key.name}.".encode(): key.record.encode() for key in keys}

    def look_up(name: bytes, timeout: int = 5) -> bytes:
        return records[name]

    def holds(number: int) -> bool:
        try:
            return bool(dkim.DKIM(data).verify(idx=number, dnsfunc=look_up))
        except dkim.ValidationError:
            return False

    return [holds(number) for number in range(data.lower().count(b"dkim-signature:"))]


def test_both_hold(keys: tuple[Key, ...]) -> None:
    """One of RSA and one of Ed25519, of header and body."""
    signed = sign(_MAIL, keys) + _MAIL
    assert [True, True] == verified(signed, keys)
    for changed in (
        signed.replace(b"body", b"Body"),
        signed.replace(b"Hi", b"Ho"),
        b"Subject: more\r\n" + signed,
        b"From: boss@ours.test\r\n" + signed,
        b"Reply-To: boss@x.test\r\n" + signed,
    ):
        assert [False, False] == verified(changed, keys)
    for unchanged in (b"Received: from y\r\n" + signed, signed + b"\r\n\r\n"):
        assert [True, True] == verified(unchanged, keys)


@pytest.mark.parametrize(
    "mail",
    [
        b"From: a@ours.test\r\n\r\n",
        b"From: a@ours.test\r\n\r\n\r\n\r\n",
        b"From: a@ours.test\r\n\r\n \r\n",
        b"From: \xc3\xa4@ours.test\r\nSubject: \xff \t\r\n\t\xff\r\n\r\n\xff\r\n",
        b"From: a@ours.test\r\n" + b"To: x@y.test\r\n" * 100 + b"\r\nx\r\n",
        b"From: a@ours.test\r\nTo:" + b"\r\n x@y.test," * 2_000 + b"\r\n\r\nx\r\n",
        b"From: a@ours.test\r\n" + b"References: <x>\r\n" * 3_000 + b"\r\nx\r\n",
    ],
)
def test_odd_mails(keys: tuple[Key, ...], mail: bytes) -> None:
    """Whatever can be sent can be signed, and the signature is short."""
    field = sign(mail, keys)
    assert [True, True] == verified(field + mail, keys)
    assert len(field) < 4_000
    assert max(map(len, field.split(b"\r\n"))) <= 78


def test_keys_are_files(tmp_path: Path) -> None:
    """Only their owner reads them, they come back, and none is written over."""
    directory = str(tmp_path)
    assert () == find_keys(directory, "ours.test")
    made = make_keys(directory, "ours.test", "b")
    assert {"rsa", "ed25519"} == {key.kind for key in made}
    assert set(made) == set(find_keys(directory, "ours.test"))
    for path in (tmp_path / "ours.test").iterdir():
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    with pytest.raises(StoreError, match="another selector"):
        make_keys(directory, "ours.test", "b")
    (tmp_path / "ours.test" / "x.pem").write_bytes(b"nonsense")
    with pytest.raises(StoreError, match=r"x\.pem is no key"):
        find_keys(directory, "ours.test")
    assert "mdir20261127" == default_selector(date(2026, 11, 27))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "A.test", "a..b", "-a", "ä", "a.", "a" * 64]
)
def test_no_domains(tmp_path: Path, name: str) -> None:
    """Nothing that is no domain leads to a file."""
    assert not is_domain(name)
    assert () == find_keys(str(tmp_path), name)


@pytest.mark.parametrize("name", ["", "a.b", "a_b", "ä", "-", "a" * 51])
def test_no_selectors(name: str) -> None:
    """A selector of ours is one label."""
    assert not is_selector(name)


def test_too_many_keys(tmp_path: Path) -> None:
    """No more are made than are used; more than that by hand stop no mail."""
    for selector in "abcd":
        make_keys(str(tmp_path), "ours.test", selector)
    with pytest.raises(StoreError, match="remove those that are old"):
        make_keys(str(tmp_path), "ours.test", "e")
    for path in list((tmp_path / "ours.test").iterdir()):
        path.with_name(f"x{path.name}").write_bytes(path.read_bytes())
    assert 8 == len(find_keys(str(tmp_path), "ours.test"))


def test_records() -> None:
    """What a zone file takes: texts of 255 characters at most."""
    key = Key("ours.test", "s", b"-----", b"x" * 294)
    assert key.zone_line.startswith('s._domainkey.ours.test. IN TXT ("v=DKIM1; k=rsa; p=')
    texts = key.zone_line.partition("(")[2][1:-2].split('" "')
    assert key.record == "".join(texts)
    assert 255 >= max(map(len, texts))


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It makes keys once, prints their records each time, and says what is wrong."""
    monkeypatch.setenv("MDIR_SMTP_DKIM", str(tmp_path))
    assert 0 == main(["dkim", "Ours.Test."])
    first = capsys.readouterr()
    assert 3 == len(first.out.splitlines())
    assert first.out.startswith("; made 2 keys in ")
    assert 0 == main(["dkim", "ours.test", "--json"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {key.record for key in find_keys(str(tmp_path), "ours.test")} == {
        one["value"] for one in found
    }
    assert 0 == main(["dkim", "ours.test", "--renew", "--selector", "next"])
    assert 5 == len(capsys.readouterr().out.splitlines())
    assert 66 == main(["dkim", "other.test", "--check"])
    assert "make one: mdir-smtp dkim other.test" in capsys.readouterr().err
    assert 0 == main(["dkim", "Bücher.test"])
    assert "_domainkey.xn--bcher-kva.test." in capsys.readouterr().out
    assert 64 == main(["dkim", "../x"])
    assert 64 == main(["dkim", "ours.test", "--selector", "a.b"])

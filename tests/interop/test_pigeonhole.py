"""The same rules and mails give what Pigeonhole's sieve-test gives, errors included."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mdirclient import Header
from mdirclient.errors import ScriptError
from mdirclient.mail.memory import take_apart
from mdirclient.mail.stored import StoredMessage
from mdirclient.stribution import Item, compile_script
from mdirclient.url import PartURL
from tests.ruled import RULED, rules

SIEVE_TEST = shutil.which("sieve-test")
NOBODY = 65534 if os.getuid() == 0 else None
PATHS = {"envelope_from": "sender+f@y.org", "envelope_to": "anna+detail@x.org"}
CONFIG = """\
mail_home = {0}/home
mail_location = maildir:{0}/Mail
log_path = /dev/stderr
base_dir = {0}/run
ssl = no
recipient_delimiter = +
plugin {{
  recipient_delimiter = +
}}
"""
_STORED = re.compile(r"^ \* store message in folder: (.*)$", re.MULTILINE)
_ERROR = re.compile(r"line (\d+): error: ")

pytestmark = pytest.mark.skipif(not SIEVE_TEST, reason="sieve-test is not installed")


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """With all mails and a configuration; of a user that Dovecot accepts."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        (path / "dovecot.conf").write_text(CONFIG.format(path))
        for number, mail in enumerate(RULED):
            (path / f"{number}.eml").write_bytes(mail)
        for made in (path, path / "home", path / "run"):
            made.mkdir(exist_ok=True)
            made.chmod(0o777)
        yield path


def judged(directory: Path, script: str, mail: int) -> list[str] | int:
    """Where Pigeonhole files a mail, in order; or the line of the first error."""
    path = directory / "rules.sieve"
    if mail == 0:
        path.write_text(script)
        os.utime(path, (mail, mail))
        (directory / "rules.svbin").unlink(missing_ok=True)
    found = subprocess.run(
        [
            *(SIEVE_TEST or "", "-c", "dovecot.conf", "-f", PATHS["envelope_from"]),
            *("-r", PATHS["envelope_to"], "-a", PATHS["envelope_to"], "rules.sieve", f"{mail}.eml"),
        ],
        capture_output=True,
        text=True,
        cwd=directory,
        env={"HOME": str(directory / "home"), "TZ": "UTC", "PATH": os.defpath},
        # Dovecot handles no mail of root's.
        user=NOBODY,
        group=NOBODY,
        extra_groups=None if NOBODY is None else [],
    )
    if found.returncode:
        match = _ERROR.search(found.stderr)
        assert match, found.stderr
        return int(match[1])
    # Sieve is done with a message when it has done what it says it did, in this order.
    return _STORED.findall(found.stdout)


def ours(script: str, mail: int) -> list[str] | int:
    """The same of ours."""
    taken = take_apart(RULED[mail])
    url = PartURL.parse("mdir:one@x.org/1")
    stored = StoredMessage(url, taken.parts, taken.fields, len(RULED[mail]), taken.sha256)
    item = Item(Header(stored.headers(**PATHS)[0]))
    try:
        compiled = compile_script(script.encode())
        actions, _ = compiled.evaluate(item, now=datetime.now(UTC), exists=lambda target: False)
    except ScriptError as error:
        return error.line or 0
    return ["/".join(action.target.names) or "INBOX" for action in actions]


@pytest.mark.parametrize(("name", "script"), rules().items(), ids=rules())
def test_the_same_as_pigeonhole(
    directory: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each script and each mail; an error is in the same line."""
    monkeypatch.setenv("TZ", "UTC")
    for mail in range(len(RULED)):
        expected = judged(directory, script, mail)
        found = ours(script, mail)
        if "unclosed" in name:
            # Deviation: we tell where it was opened, Pigeonhole where the script ends.
            assert isinstance(expected, int)
            assert isinstance(found, int)
            break
        assert expected == found, f"{name}, mail {mail}"
        assert isinstance(expected, int) == name.startswith("error: ")
        if isinstance(expected, int):
            break  # no mail makes it better


def test_there_are_enough() -> None:
    """Sixty scripts and ten mails, and every word of the language is in one of them."""
    from mdirclient.stribution.dates import DATE_PARTS
    from mdirclient.stribution.matching import COMPARATORS, RELATIONS
    from mdirclient.stribution.words import CAPABILITIES, COMMANDS, TAGS, TESTS

    good = {name: script for name, script in rules().items() if not name.startswith("error: ")}
    assert len(good) >= 60
    assert len(RULED) >= 10
    text = "\n".join(good.values()).lower()
    words = {*COMMANDS, *TESTS, *(f":{tag}" for tag in TAGS)}
    words |= {f'"{word}"' for word in (*CAPABILITIES, *DATE_PARTS, *COMPARATORS, *RELATIONS)}
    assert set() == {word for word in words if word not in text}

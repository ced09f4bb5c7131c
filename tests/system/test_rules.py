"""Rules of folders in an mdird that is served: whose rights they have, and the command."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mdirclient import Folder, Header, Mdird, connect, folder_id, make_folder, sync
from mdirclient.cli import exits
from mdirclient.cli.mdir import main
from mdirclient.errors import PermanentReplyError
from mdirclient.mdird.rules import (
    install_rules,
    read_reports,
    read_rules,
    remove_rules,
    try_rules,
)
from mdirclient.mdird.users import remove_user, renew_token, set_rights
from mdirclient.smtp.accounts import add_account
from tests.mails import two_photos
from tests.places import PLACES
from tests.served import Served, serving

NOW = datetime(2026, 11, 23, tzinfo=UTC)
TO_ANNA = b'require "fileinto"; fileinto "/Home/anna/In";'


def note(number: int, *fields: tuple[str, str]) -> Header:
    """An entry whose content is elsewhere."""
    return Header([("url", f"https://x.org/{number}@x.org/1"), *fields])


def urls(mdird: Mdird, folder: str) -> list[str]:
    """The entries of a folder that are messages."""
    return [header["url"] for header in mdird.lookup(folder) if "type" not in header]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server with a fresh mdir."""
    with serving(tmp_path / "mdir") as server:
        yield server


@pytest.fixture
def root(served: Served) -> Iterator[Mdird]:
    """The administrator of an mdir with two homes."""
    with connect(served.unix) as mdird:
        for name in ("jo", "anna"):
            make_folder(mdird, f"Home/{name}/In")
            served.user(name)
            set_rights(mdird, f"Home/{name}", owner=name)
        yield mdird


@pytest.fixture
def jo(served: Served, root: Mdird) -> Iterator[Mdird]:
    """A user with a home."""
    with connect(served.tls("jo", renew_token(root, "Users", "jo"))) as mdird:
        yield mdird


def test_rules_have_the_rights_of_the_owner(root: Mdird, jo: Mdird) -> None:
    """A refused target keeps the message and reports, once."""
    install_rules(jo, "Home/jo/In", TO_ANNA)
    root.classify("Home/jo/In", note(1))
    root.classify("Home/jo/In", note(2))
    assert [] == urls(root, "Home/anna/In")
    assert [note(1)["url"], note(2)["url"]] == urls(root, "Home/jo/In")
    (report,) = read_reports(jo, "Home/jo/In")
    assert "jo may not file into" in report["reason"]
    set_rights(root, "Home/anna/In", rights=("write jo",))
    root.classify("Home/jo/In", note(3))
    assert [note(3)["url"]] == urls(root, "Home/anna/In")


def test_another_owner_gives_no_more_rights(root: Mdird, jo: Mdird) -> None:
    """Who may change a folder could name anybody its owner."""
    set_rights(jo, "Home/jo/In", owner="anna", rights=("admin jo",))
    install_rules(jo, "Home/jo/In", TO_ANNA)
    root.classify("Home/jo/In", note(1))
    assert [] == urls(root, "Home/anna/In")
    assert [note(1)["url"]] == urls(root, "Home/jo/In")


@pytest.mark.parametrize("given", ["anna", None])
def test_nobody_says_who_installed_rules(served: Served, jo: Mdird, given: str | None) -> None:
    """mdird writes it."""
    stored = jo.store.add_file(TO_ANNA, media_type="application/sieve")
    forged = [("installed-by", given)] if given else []
    header = Header([*stored.headers()[0], ("type", "stribution"), *forged])
    jo.put("Home/jo/In", header)
    (found,) = jo.lookup("Home/jo/In", Header([("type", "stribution")]))
    assert ("jo",) == found.get_all("installed-by")


def test_rules_of_the_administrator_are_the_owners(root: Mdird) -> None:
    """In a folder that has one; else they may do everything."""
    make_folder(root, "Shared")
    for folder in ("Home/jo/In", "Shared"):
        install_rules(root, folder, TO_ANNA)
        root.classify(folder, note(len(folder)))
    assert [note(6)["url"]] == urls(root, "Home/anna/In")


def test_rules_of_a_removed_user_file_nothing(root: Mdird, jo: Mdird) -> None:
    """What comes stays there."""
    install_rules(jo, "Home/jo/In", b'require "fileinto"; fileinto "x";')
    remove_user(root, "Users", "jo")
    root.classify("Home/jo/In", note(1))
    assert [note(1)["url"]] == urls(root, "Home/jo/In")


def test_only_admins_install(root: Mdird, jo: Mdird) -> None:
    """Rules act with the rights of others."""
    set_rights(root, "Home/anna/In", rights=("read,write jo",))
    with pytest.raises(PermanentReplyError):
        install_rules(jo, "Home/anna/In", b"discard;")
    install_rules(root, "Home/anna/In", b"keep;")
    with pytest.raises(PermanentReplyError):
        remove_rules(jo, "Home/anna/In")


def test_a_loop_of_folders_ends(root: Mdird) -> None:
    """The message stays where it was sent back, and that is reported there."""
    install_rules(root, "Home/jo/In", TO_ANNA)
    install_rules(root, "Home/anna/In", b'require "fileinto"; fileinto "/Home/jo/In";')
    set_rights(root, "Home/anna/In", owner="anna", rights=("write jo",))
    set_rights(root, "Home/jo/In", owner="jo", rights=("write anna",))
    root.classify("Home/jo/In", note(1))
    assert [] == urls(root, "Home/jo/In")
    assert [note(1)["url"]] == urls(root, "Home/anna/In")
    (report,) = read_reports(root, "Home/anna/In")
    assert "back to where" in report["reason"]


def test_no_mount_diverts_what_rules_file(served: Served, root: Mdird) -> None:
    """Who may write into a folder, and not read it, puts no folder of theirs there."""
    set_rights(root, "Home/jo", owner="jo", rights=("write anna",))
    set_rights(root, "Home/anna", owner="anna", rights=("write jo",))
    with connect(served.tls("anna", renew_token(root, "Users", "anna"))) as anna:
        mount = Header([("type", "dir"), ("name", "Private"), ("id", folder_id(root, "Home/anna"))])
        with pytest.raises(PermanentReplyError):
            anna.put("Home/jo", mount)


def test_a_script_that_is_no_sieve_keeps(root: Mdird) -> None:
    """Whatever bytes it has."""
    for number, script in enumerate((b"keep;\x0c", b"\xff", "\xa0".encode(), b"x" * 200_000)):
        stored = root.store.add_file(script, media_type="application/sieve")
        root.put("Home/jo/In", Header([*stored.headers()[0], ("type", "stribution")]))
        root.classify("Home/jo/In", note(number))
        assert note(number)["url"] in urls(root, "Home/jo/In")


def test_parts_go_together(root: Mdird) -> None:
    """A rule on the sender moves the attachments with the text; a redelivery changes nothing."""
    install_rules(
        root,
        "Home/jo/In",
        b'require ["fileinto", "variables"];\n'
        b'if address :domain :matches "from" "*" { fileinto "From ${1}"; }',
    )
    stored = root.store.add(two_photos())
    for _ in range(2):
        with root.batch() as batch:
            for header in stored.headers():
                batch.classify("Home/jo/In", header)
    assert 3 == len(urls(root, "Home/jo/In/From example.org"))
    assert [] == urls(root, "Home/jo/In")


def test_too_deep_a_folder_is_refused(root: Mdird) -> None:
    """It could never be opened."""
    deep = "/".join("d" * 90)
    make_folder(root, deep)
    install_rules(root, deep, b'require "fileinto"; fileinto "%s";' % b"/".join([b"e"] * 20))
    root.classify(deep, note(1))
    assert [note(1)["url"]] == urls(root, deep)
    assert 1 == len(read_reports(root, deep))


def test_rules_that_cannot_be_read_keep(root: Mdird) -> None:
    """A content that is gone is told; when it is back, it counts."""
    header = Header([("url", "mdir:nowhere@x.org/1"), ("type", "stribution")])
    root.put("Home/jo/In", header)
    root.classify("Home/jo/In", note(1))
    assert [note(1)["url"]] == urls(root, "Home/jo/In")
    (report,) = read_reports(root, "Home/jo/In")
    assert "cannot be read" in report["reason"]


def test_a_script_is_a_file_of_the_folder(root: Mdird, tmp_path: Path) -> None:
    """Reports are not."""
    install_rules(root, "Home/jo/In", TO_ANNA)
    root.classify("Home/jo/In", note(1))
    with Folder(tmp_path / "in") as folder:
        sync(folder, root, "Home/jo/In")
        assert ["rules.sieve"] == [entry.name for entry in folder]
        assert TO_ANNA == next(iter(folder)).path.read_bytes()


def test_a_trial_is_what_will_be(root: Mdird) -> None:
    """Through several folders, with mounts; nothing is changed."""
    install_rules(root, "Home/jo/In", b'require "fileinto"; fileinto "a"; fileinto "/Home/b";')
    install_rules(root, "Home/jo", b'require "fileinto"; fileinto "In";')
    make_folder(root, "Home/jo/In/a")
    (found,) = root.lookup("Home/jo/In", Header([("type", "dir")]))
    root.put("Home", Header([("type", "dir"), ("name", "b"), ("id", found["id"])]))
    trial = try_rules(root, "Home/jo", note(1), now=NOW)
    assert ["Home/jo/In/a"] == [one.folder for one in trial.destinations]
    assert ('line 1: fileinto "In"', 'line 1: fileinto "a"') == trial.destinations[0].because
    assert [] == urls(root, "Home/jo/In/a")
    root.classify("Home/jo", note(1))
    assert [note(1)["url"]] == urls(root, "Home/jo/In/a")


def test_a_trial_does_not_see_what_is_hidden(root: Mdird, jo: Mdird) -> None:
    """Where one may not read, one may file nevertheless."""
    install_rules(jo, "Home/jo/In", TO_ANNA)
    trial = try_rules(jo, "Home/jo/In", note(1), now=NOW)
    assert ["Home/anna/In"] == [one.folder for one in trial.destinations]


# -- the command


@pytest.fixture
def mdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mdird]:
    """The mdird of the environment, with a folder."""
    monkeypatch.setenv("MDIRD", f"file://{tmp_path}/own")
    with connect() as mdird:
        make_folder(mdird, "In")
        yield mdird


def test_the_command(
    mdir: Mdird, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """It shows, installs, tries and removes."""
    script = tmp_path / "r.sieve"
    script.write_bytes(b'require "fileinto";\nif exists "list-id" { fileinto "Lists"; stop; }\n')
    mail = tmp_path / "m.eml"
    mail.write_bytes(b"List-Id: <a.b>\nSubject: x\n\nbody\n")
    assert exits.OK == main(["rules", "In"])
    assert b"In has no rules" in capfdbinary.readouterr().err
    assert exits.OK == main(["rules", "In", str(script), "--try", str(mail), "--json"])
    assert {
        "folder": "In/Lists",
        "because": ['line 2: if exists "list-id"', 'line 2: fileinto "Lists"'],
    } == json.loads(capfdbinary.readouterr().out)
    assert read_rules(mdir, "In") is None
    assert exits.OK == main(["rules", "In", str(script)])
    assert exits.OK == main(["rules", "In"])
    assert script.read_bytes() == capfdbinary.readouterr().out
    assert exits.OK == main(["rules", "In", "--try", str(mail)])
    assert b"In/Lists\n    line 2: if" in capfdbinary.readouterr().out
    assert exits.OK == main(["rules", "In", "--remove"])
    assert read_rules(mdir, "In") is None


def test_the_command_refuses(
    mdir: Mdird,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Rules with an error are not installed; the file and the line are named."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"keep;\noops;\n")))
    assert exits.BROKEN == main(["rules", "In", "-"])
    assert "-:2: there is no command 'oops'" in capsys.readouterr().err
    assert read_rules(mdir, "In") is None
    assert exits.USAGE == main(["rules", "In", "x", "--remove"])
    assert 66 == main(["rules", "None"])


def test_a_discarded_mail_prints_nothing(
    mdir: Mdird, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The envelope is given by options."""
    install_rules(mdir, "In", b'require "envelope"; if envelope "from" "spam@x.org" { discard; }')
    mail = tmp_path / "m.eml"
    mail.write_bytes(b"Subject: x\n\nbody\n")
    arguments = ["rules", "In", "--try", str(mail)]
    assert exits.OK == main([*arguments, "--envelope-from", "spam@x.org"])
    assert "" == capsys.readouterr().out
    assert exits.OK == main([*arguments, "--envelope-from", "a@x.org"])
    assert "In\n    no rule filed or discarded it\n" == capsys.readouterr().out


def test_what_went_wrong_is_shown(mdir: Mdird, capsys: pytest.CaptureFixture[str]) -> None:
    """With the rules, on standard error."""
    install_rules(mdir, "In", b'require "fileinto";\nfileinto "/In/x";\n')
    make_folder(mdir, "In/x")
    install_rules(mdir, "In/x", b'require "fileinto"; fileinto "/In";')
    mdir.classify("In", note(1))
    assert exits.OK == main(["rules", "In/x"])
    assert f"where the message came from; first with {note(1)['url']}" in capsys.readouterr().err


def test_accounts_have_rules(mdir: Mdird) -> None:
    """The user of an account files into its folder."""
    places = PLACES
    add_account(mdir, places, "jo@x.org", user="jo")
    folder = "SMTP/Accounts/jo@x.org"
    install_rules(mdir, folder, b'require "fileinto"; fileinto "Lists";')
    mdir.classify(folder, note(1))
    assert [note(1)["url"]] == urls(mdir, f"{folder}/Lists")

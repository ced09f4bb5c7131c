"""Delivery: exit codes, envelopes, odd mail."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from mdirclient import Folder, Header, connect, sync
from tests.mails import small
from tests.system.commands import SCRIPTS, World

ACCOUNT = "SMTP/Accounts/jo@machin.com"


def entries(world: World, folder: str = ACCOUNT) -> list[Header]:
    """What is in a folder of the mdir."""
    with connect(world.environ["MDIRD"], create=False) as mdird:
        return [h for h in mdird.lookup(folder) if h.get("type") not in ("dir", "rights")]


def original(world: World, header: Header) -> bytes:
    """The mail of an entry, as it was sent."""
    with connect(world.environ["MDIRD"], create=False) as mdird:
        url = header["anchor"]
        with mdird.store.open(url[: url.rindex("/")] + "/0") as file:
            return file.read()


HEAD = b'Content-Type: multipart/mixed; boundary="b"\n\n'
NESTED = b"".join(
    b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(2000)
)
ODD = {
    "header only": b"Subject: x\n",
    "one byte": b"x",
    "10 MB without a newline": b"x" * 10_000_000,
    "10 MB header": b"Subject: " + b"x" * 10_000_000,
    "NUL bytes": b"\0Subject: \0\n\n\0\0\0",
    "nested": NESTED,
    "20,000 parts": HEAD + b"--b\n\nx\n" * 20_000,
    "100,000 fields": b"X-Field: value\n" * 100_000 + b"\nbody",
    "a field of every byte": b"Subject: " + bytes(range(256)) + b"\n\nbody",
    "many recipients": b"To: " + b"=?utf-8?q?a=2Cb?= <a@b.c>, " * 20_000 + b"\n\nbody",
    "wide headers of many parts": b"".join(b"X-%d: %s\n" % (n, b"\1" * 8000) for n in range(8))
    + HEAD
    + b"--b\n\nx\n" * 990,
    "bare CR": b"Subject: x\r\rbody\r",
    "a traversing message-id": b"Message-ID: <../../../etc/passwd>\n\nbody",
    "a dot message-id": b"Message-ID: <..>\n\nbody",
    "own fields": b"Url: mdir:a@b/1\nAnchor: x\nSha256: x\nType: dir\nName: ..\n\nbody",
    "a surrogate": b"Subject: =?utf-7?q?+2AA-?=\n\nbody",
}


@pytest.mark.parametrize("name", ODD)
def test_odd_mail_is_delivered_and_comes_back(served: World, name: str) -> None:
    """Never refused, never a traceback, byte for byte."""
    done = served.deliver(ODD[name])
    assert (0, "", "") == (done.status, done.output, done.errors)
    found = entries(served)
    assert ODD[name] == original(served, found[0])
    with connect(served.environ["MDIRD"]) as mdird:
        report = sync(Folder(served.path / "inbox"), mdird, ACCOUNT)
    assert (len(found), 0) == (report.fetched, report.pending)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("nested", "more than 100 multiparts within each other"),
        ("20,000 parts", "more than 1000 parts"),
        ("wide headers of many parts", "more than 64 MiB of headers"),
    ],
)
def test_what_is_over_a_limit_is_kept_whole(served: World, name: str, limit: str) -> None:
    """As one part, which says which limit; that of headers counts them as written."""
    served.deliver(ODD[name])
    found = entries(served)
    (header,) = found
    assert (limit, "message/rfc822", "1") == tuple(
        header[field] for field in ("kept-whole", "content-type", "parts")
    )
    assert str(len(ODD[name])) == header["size"]


def test_fields_of_the_mail_cannot_pose_as_ours(served: World) -> None:
    """They are renamed."""
    served.deliver(ODD["own fields"])
    (header,) = entries(served)
    assert ("mdir:a@b/1", "dir", "..") == (
        header["mail-url"],
        header["mail-type"],
        header["mail-name"],
    )
    assert "type" not in header
    assert 1 == len(header.get_all("url"))


def test_long_fields_are_cut_and_named(served: World) -> None:
    """8 KiB each, 64 KiB together."""
    served.deliver(ODD["10 MB header"])
    served.deliver(ODD["100,000 fields"])
    first, second = entries(served)
    assert 8192 == len(first["subject"])
    assert "subject" == first["truncated"]
    assert 800 == len(second.get_all("x-field"))
    assert ("x-field", "more-fields") == second.get_all("truncated")


@pytest.mark.parametrize("name", ["../../etc/passwd", ".version", ".meta", "META~1", "a/../../b"])
def test_hostile_names_stay_in_the_folder(served: World, name: str) -> None:
    """No file outside of it, none over its own."""
    before = set(served.path.rglob("*"))
    mail = b'Message-ID: <h@x>\nContent-Disposition: attachment; filename="%s"\n\nx' % name.encode()
    assert 0 == served.deliver(mail).status
    served.right("mdir", "sync", ACCOUNT, "deep/inbox")
    inbox = served.path / "deep" / "inbox"
    (file,) = [path for path in inbox.iterdir() if not path.name.startswith(".")]
    assert b"x" == file.read_bytes()
    assert b"2\n" == (inbox / ".version").read_bytes()
    assert (inbox / ".meta").is_dir()
    for path in set(served.path.rglob("*")) - before:
        inside = [served.path / "deep", served.path / "mdir", served.path / "home" / ".cache"]
        assert any(root == path or root in path.parents for root in inside), path


def test_an_empty_stdin_is_temporary(served: World) -> None:
    """75 with one line that says why."""
    done = served.deliver(b"")
    assert 75 == done.status
    assert "the message is empty" in done.errors
    assert 1 == done.errors.count("\n")
    assert [] == entries(served)


# -- who gets it


@pytest.mark.parametrize(
    ("environ", "recipient"),
    [
        ({"RECIPIENT": "jo@machin.com"}, "jo@machin.com"),
        ({"RECIPIENT": "Jo+list@MACHIN.com"}, "Jo+list@MACHIN.com"),
        ({"RECIPIENT": "alias@x.org", "ORIGINAL_RECIPIENT": "jo@machin.com"}, "alias@x.org"),
        ({"LOCAL_PART": "jo", "DOMAIN": "machin.com"}, "jo@machin.com"),
        ({"LOCAL": "jo", "DOMAIN": "machin.com", "RECIPIENT": "jo"}, "jo"),
        ({"RECIPIENT": "jo-list@machin.com", "EXTENSION": "list"}, "jo-list@machin.com"),
        ({"RECIPIENT": "jo@machin.com."}, "jo@machin.com."),
    ],
)
def test_recipient_from_the_environment(
    served: World, environ: dict[str, str], recipient: str
) -> None:
    """As Postfix, Exim and OpenSMTPD set it."""
    done = served.run("mdir-smtp", "deliver", mail=small(1), **environ)
    assert 0 == done.status, done
    (header,) = entries(served)
    assert recipient == header["envelope-to"]


@pytest.mark.parametrize(
    ("words", "environ", "head", "expected"),
    [
        ([], {"SENDER": "a@b.c"}, b"", "a@b.c"),
        ([], {"SENDER": ""}, b"", "<>"),
        ([], {"SENDER": "MAILER-DAEMON"}, b"", "<>"),
        (["--sender", "<>"], {"SENDER": "a@b.c"}, b"", "<>"),
        (["--sender", "<x@y.z>"], {}, b"", "x@y.z"),
        (["--sender", "-x@y.z"], {}, b"", "-x@y.z"),
        ([], {}, b"Return-Path: <r@p.q>\n", "r@p.q"),
        ([], {}, b"Return-Path: <>\n", "<>"),
        ([], {"SENDER": "a@b.c"}, b"Return-Path: <r@p.q>\n", "a@b.c"),
    ],
)
def test_sender(
    served: World, words: list[str], environ: dict[str, str], head: bytes, expected: str
) -> None:
    """Option, environment, Return-Path, in that order."""
    command = ["mdir-smtp", "deliver", "--recipient", "jo@machin.com", *words]
    assert 0 == served.run(*command, mail=head + small(1), **environ).status
    (header,) = entries(served)
    assert expected == header["envelope-from"]


def test_client_and_trace(served: World) -> None:
    """What Postfix knows of the client, and the mail's own Received apart from ours."""
    client = {"CLIENT_ADDRESS": "192.0.2.1", "CLIENT_HOSTNAME": "mx.x.org", "CLIENT_HELO": "helo.x"}
    served.deliver(
        b"Received: from elsewhere\n" + small(1), **client, MDIR_SMTP_HOSTNAME="here.org"
    )
    (header,) = entries(served)
    assert (
        "192.0.2.1",
        "mx.x.org",
        "helo.x",
    ) == tuple(header[field] for field in ("client-address", "client-name", "helo"))
    assert header["received"].startswith(
        "from mx.x.org by here.org with local for <jo@machin.com>; "
    )
    assert "from elsewhere" == header["mail-received"]


@pytest.mark.parametrize(
    ("believed", "name"),
    [
        ("mx.x.org", "authentication-results"),
        ("other", "mail-authentication-results"),
        ("", "mail-authentication-results"),
    ],
)
def test_authentication_results_of_strangers(served: World, believed: str, name: str) -> None:
    """Only configured authserv-ids keep the name (RFC 8601)."""
    mail = b"Authentication-Results: MX.x.org; spf=pass\n" + small(1)
    served.deliver(mail, MDIR_SMTP_AUTHSERV=believed)
    (header,) = entries(served)
    assert "MX.x.org; spf=pass" == header[name]


def test_strange_bytes_in_the_environment(served: World) -> None:
    """They do not keep the mail from being delivered."""
    sender = os.fsdecode(b"\xff\n" + b"x" * 9999)
    assert 0 == served.deliver(small(1), SENDER=sender).status
    assert 1 == len(entries(served))


def test_without_a_recipient_it_is_classified_at_the_root(served: World) -> None:
    """Delivered-To informs only: a sender can write it."""
    mail = b"Delivered-To: jo@machin.com\n" + small(1)
    assert 0 == served.run("mdir-smtp", "deliver", mail=mail).status
    assert [] == entries(served)
    (header,) = [header for header in entries(served, "") if "url" in header]
    assert "jo@machin.com" == header["envelope-to"]


def test_several_recipients_are_one_transaction(served: World) -> None:
    """Each gets their own envelope-to; one that is unknown is named, the others have it.

    The MTA knows one code for all of them, so it is 75: none of the others is bounced.
    """
    served.account("li@machin.com")
    words = ["--recipient", "li@machin.com", "--recipient", "no@machin.com"]
    done = served.run("mdir-smtp", "deliver", "--recipient", "jo@machin.com", *words, mail=small(1))
    assert 75 == done.status
    assert done.errors.startswith("4.1.1 no account for 'no@machin.com'")
    assert "li@machin.com" not in done.errors
    for name in ("jo@machin.com", "li@machin.com"):
        (header,) = entries(served, f"SMTP/Accounts/{name}")
        assert (name,) == header.get_all("envelope-to")


# -- exit codes


@pytest.mark.parametrize(
    "recipient", ["no@machin.com", "jo@other.org", "a/b@machin.com", "é@x", "-no@machin.com"]
)
def test_certainly_no_such_account(served: World, recipient: str) -> None:
    """67, and nothing is stored."""
    done = served.deliver(small(1), recipient)
    assert 67 == done.status
    assert done.errors.startswith("5.1.1 no account for ")
    assert not (served.path / "mdir/store/messages/1@example.org").exists()


def test_an_extension_is_no_end_of_a_name(served: World) -> None:
    """It is cut from the recipient alone, with its delimiter."""
    served.account("an@machin.com")
    done = served.run(
        "mdir-smtp",
        "deliver",
        mail=small(1),
        RECIPIENT="list-a@machin.com",
        EXTENSION="a",
        ORIGINAL_RECIPIENT="anna@machin.com",
    )
    assert 67 == done.status
    assert (
        67
        == served.run(
            "mdir-smtp", "deliver", mail=small(1), RECIPIENT="jox@machin.com", EXTENSION="x"
        ).status
    )


@pytest.mark.parametrize("recipient", ["", "jo", "@machin.com", "jo@", "<>"])
def test_what_is_no_address_is_temporary(served: World, recipient: str) -> None:
    """An empty expansion in a recipe says nothing about an account."""
    done = served.deliver(small(1), recipient)
    assert 75 == done.status
    assert "look at the MTA's settings" in done.errors


@pytest.mark.parametrize("accounts", ["SMTP", "/", "Users", "SMTP/Outbox/jo@machin.com"])
def test_a_wrong_folder_of_accounts_is_temporary(served: World, accounts: str) -> None:
    """Folders that are no accounts say nothing about an address."""
    assert 75 == served.deliver(small(1), MDIR_SMTP_ACCOUNTS=accounts).status


def test_slashes_around_the_folder_of_accounts(served: World) -> None:
    """Make no difference."""
    assert 0 == served.deliver(small(1), MDIR_SMTP_ACCOUNTS="/SMTP/Accounts/").status
    assert 1 == len(entries(served))


def test_without_an_mdird_it_is_temporary(world: World) -> None:
    """Deliver never makes one: a wrong HOME is no bounce."""
    done = world.deliver(small(1))
    assert 75 == done.status
    assert not (world.path / "mdir").exists()
    bare = world.run("mdir-smtp", "deliver", mail=small(1), MDIRD="", RECIPIENT="jo@machin.com")
    assert 75 == bare.status
    assert [] == list(Path(world.environ["HOME"]).iterdir())


def test_without_accounts_it_is_temporary(world: World) -> None:
    """An empty folder of accounts says nothing about an address; nor does none."""
    connect(world.environ["MDIRD"]).close()
    assert 75 == world.deliver(small(1)).status
    with connect(world.environ["MDIRD"]) as mdird:
        from mdirclient import make_folder

        make_folder(mdird, "SMTP/Accounts")
    done = world.deliver(small(1))
    assert 75 == done.status
    assert "account add" in done.errors


@pytest.mark.parametrize(
    ("words", "environ"),
    [
        (["--no-such-option"], {}),
        (["--config", "/nonexistent"], {}),
        ([], {"MDIRD": "nonsense"}),
        ([], {"MDIRD": "file:///proc/none"}),
        ([], {"MDIR_STORE": "file:///nonexistent"}),
    ],
)
def test_whatever_is_wrong_is_temporary(
    served: World, words: list[str], environ: dict[str, str]
) -> None:
    """One line, never a traceback, and 75 from both commands."""
    for command in (["mdir-smtp", "deliver"], ["mdir-deliver"]):
        done = served.run(
            *command, "--recipient", "jo@machin.com", *words, mail=small(1), **environ
        )
        assert 75 == done.status, done
        assert 1 == done.errors.count("\n")
        assert done.errors.startswith("4.3.0 the mail was not taken"), done


@pytest.mark.parametrize("module", ["sqlite3", "attr", "argparse"])
def test_a_broken_module_is_temporary(served: World, module: str) -> None:
    """One line, and 75."""
    broken = served.path / "broken" / module
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('broken')")
    done = served.deliver(small(1), PYTHONPATH=str(broken.parent))
    assert (75, 1) == (done.status, done.errors.count("\n"))
    assert done.errors.startswith("4.3.0 the mail was not taken")


@pytest.mark.parametrize("damage", ["missing", "garbage", "readonly table"])
def test_a_damaged_database_is_temporary(served: World, damage: str) -> None:
    """The mail is not taken."""
    database = served.path / "mdir" / "mdird.sqlite3"
    if "missing" == damage:
        database.unlink()
    elif "garbage" == damage:
        database.write_bytes(b"garbage" * 1000)
    else:
        import sqlite3

        connection = sqlite3.connect(database)
        connection.execute("DROP TABLE receipt")
        connection.commit()
        connection.close()
    done = served.deliver(small(1))
    assert 75 == done.status
    assert 1 == done.errors.count("\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_is_temporary(served: World, number: int) -> None:
    """Exim would bounce on the signal itself."""
    process = subprocess.Popen(
        ["mdir-smtp", "deliver", "--recipient", "jo@machin.com"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=served.environ,
    )
    assert process.stdin is not None
    while not _handles(process.pid, signal.SIGTERM):  # the last that gets its handler
        assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate()
    assert 75 == process.returncode
    assert 1 == errors.count(b"\n")


def test_a_second_signal_changes_nothing(served: World) -> None:
    """It is 75, however impatient the MTA is."""
    process = subprocess.Popen(
        ["mdir-smtp", "deliver", "--recipient", "jo@machin.com"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=served.environ,
    )
    while not _handles(process.pid, signal.SIGTERM):
        assert process.poll() is None
    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
    assert process.stdin is not None
    process.stdin.close()
    assert 75 == process.returncode


def _handles(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal. Source: proc(5), SigCgt."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) & 1 << (number - 1))


@pytest.fixture
def wrapper(tmp_path: Path) -> Path:
    """`mdir-deliver` beside a `mdir-smtp` of the test's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy(SCRIPTS / "mdir-deliver", folder)
    return folder / "mdir-deliver"


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("#!/bin/sh\nexit 0", 0),
        ("#!/bin/sh\nexit 67", 67),
        ("#!/bin/sh\nexit 75", 75),
        ("#!/bin/sh\nexit 1", 75),
        ("#!/bin/sh\nexit 65", 75),
        ("#!/bin/sh\nkill -9 $$", 75),
        ("#!/bin/sh\nkill -TERM $$", 75),
        ("#!/nonexistent/python\n", 75),
        ("#!/etc\n", 75),
        (None, 75),
    ],
)
def test_the_wrapper_lets_three_codes_pass(wrapper: Path, script: str | None, status: int) -> None:
    """Everything else, signals and a missing interpreter included, is temporary."""
    if script is not None:
        (wrapper.parent / "mdir-smtp").write_text(script)
        (wrapper.parent / "mdir-smtp").chmod(0o755)
    done = subprocess.run(
        [wrapper, "--recipient", "x"], input=b"", env={"PATH": "/usr/bin:/bin"}, capture_output=True
    )
    assert status == done.returncode


def test_the_wrapper_can_be_a_link(wrapper: Path, tmp_path: Path) -> None:
    """It finds mdir-smtp beside itself."""
    (wrapper.parent / "mdir-smtp").write_text("#!/bin/sh\nexit 67")
    (wrapper.parent / "mdir-smtp").chmod(0o755)
    (tmp_path / "linked").symlink_to(wrapper)
    assert 67 == subprocess.run([tmp_path / "linked"], env={"PATH": "/usr/bin:/bin"}).returncode


def test_the_wrapper_passes_words_and_mail_unchanged(wrapper: Path) -> None:
    """Never a second look by a shell."""
    script = '#!/bin/sh\nprintf "<%s>" "$@" >"${0%/*}/words"; cat >"${0%/*}/mail"'
    (wrapper.parent / "mdir-smtp").write_text(script)
    (wrapper.parent / "mdir-smtp").chmod(0o755)
    words = ["--recipient", "$(touch x) `y` ; a b*", ""]
    subprocess.run([wrapper, *words], input=b"\0\xffmail", check=True)
    assert (
        "<deliver>" + "".join(f"<{word}>" for word in words)
        == (wrapper.parent / "words").read_text()
    )
    assert b"\0\xffmail" == (wrapper.parent / "mail").read_bytes()

"""Rights: who may do what, by the protocol as users have it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest

from mdirclient import End, Header, Mdird, Now, Patch, connect, folder_id, make_folder
from mdirclient.errors import (
    NotFoundReplyError,
    PermanentReplyError,
    ReplyError,
    TransportError,
)
from mdirclient.mdird import EmbeddedMdird
from mdirclient.mdird.operation import Operation
from mdirclient.mdird.rights import ADMINISTRATOR, Actor, rights_url
from mdirclient.mdird.users import (
    add_user,
    find_user,
    remove_user,
    renew_token,
    set_password,
    set_rights,
)
from mdirclient.mstore import DirectoryMstore
from tests.served import Served, serving

MAIL = (
    b"Message-ID: <one@x.org>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\n\r\nfirst\r\n--b\r\n\r\nsecond\r\n--b--\r\n"
)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server with a fresh mdir."""
    with serving(tmp_path / "mdir") as server:
        yield server


@pytest.fixture
def root(served: Served) -> Iterator[Mdird]:
    """The administrator."""
    with connect(served.unix) as mdird:
        make_folder(mdird, "Users")
        for name in ("jo", "anna"):
            make_folder(mdird, f"Home/{name}")
            set_rights(mdird, f"Home/{name}", owner=name)
        yield mdird


@pytest.fixture
def jo(served: Served, root: Mdird) -> Iterator[Mdird]:
    """A user with a folder of their own."""
    with connect(served.tls("jo", add_user(root, "Users", "jo"))) as mdird:
        yield mdird


@pytest.fixture
def anna(served: Served, root: Mdird) -> Iterator[Mdird]:
    """Another one."""
    with connect(served.tls("anna", add_user(root, "Users", "anna"))) as mdird:
        yield mdird


@pytest.fixture
def smtp(served: Served, root: Mdird) -> Iterator[Mdird]:
    """A connector."""
    token = add_user(root, "Users", "smtp", rights=("connector",))
    with connect(served.tls("smtp", token)) as mdird:
        yield mdird


def note(number: int, *fields: tuple[str, str]) -> Header:
    """An entry whose content is nobody's."""
    return Header([("url", f"https://elsewhere.example/{number}@x.org/1"), *fields])


def items(mdird: Mdird, folder: str) -> list[Header]:
    """What is in a folder, but for its own rights."""
    return [header for header in mdird.lookup(folder) if "type" not in header]


def refused(act: object) -> int:
    """The status of what is refused."""
    with pytest.raises(PermanentReplyError) as caught:
        act()  # type: ignore[operator]
    return caught.value.status


def test_a_folder_is_its_owners_alone(jo: Mdird, anna: Mdird) -> None:
    """Reading, writing, following and removing need a right; others have none."""
    jo.put("Home/jo", note(1))
    assert [note(1)] == items(jo, "Home/jo")
    for act in (
        lambda: list(anna.lookup("Home/jo")),
        lambda: anna.put("Home/jo", note(2)),
        lambda: anna.set("Home/jo", note(2), base=0),
        lambda: anna.classify("Home/jo", note(2)),
        lambda: anna.remove("Home/jo", note(1)),
        lambda: anna.subscribe("Home/jo"),
        lambda: anna.put("", Header([("type", "dir"), ("name", "Mine")])),
    ):
        assert 403 == refused(act)
    assert [note(1)] == items(jo, "Home/jo")


def test_rights_are_inherited_and_the_first_match_decides(
    root: Mdird, jo: Mdird, anna: Mdird
) -> None:
    """Below a folder its rights count, until one further down says something else."""
    make_folder(jo, "Home/jo/Shared/Deep")
    make_folder(jo, "Home/jo/Shared/Hidden")
    set_rights(jo, "Home/jo/Shared", rights=("read anna", "none *"))
    assert [] == list(anna.lookup("Home/jo/Shared/Deep"))
    assert 403 == refused(lambda: anna.put("Home/jo/Shared/Deep", note(1)))
    set_rights(jo, "Home/jo/Shared/Hidden", rights=("none *", "read anna"))
    assert 403 == refused(lambda: list(anna.lookup("Home/jo/Shared/Hidden")))
    set_rights(jo, "Home/jo/Shared", rights=("read,write *",))
    assert anna.put("Home/jo/Shared/Deep", note(1)) > 0
    assert 403 == refused(lambda: list(anna.lookup("Home/jo/Shared/Hidden")))


def test_writing_alone_shows_nothing(root: Mdird, jo: Mdird, anna: Mdird) -> None:
    """Who may only put cannot look, nor learn by removing what is there."""
    set_rights(root, "Home/jo", rights=("write anna",))
    anna.put("Home/jo", note(1))
    assert 403 == refused(lambda: list(anna.lookup("Home/jo")))
    assert 403 == refused(lambda: anna.remove("Home/jo", note(1)))


def test_names_of_folders_are_not_told(root: Mdird, jo: Mdird, anna: Mdird) -> None:
    """Whether a folder is there is known to who may read the one above."""
    make_folder(jo, "Home/jo/Secret")
    texts = set()
    for name in ("Secret", "Nothing"):
        for act in (
            lambda n=name: anna.subscribe(f"Home/jo/{n}"),
            lambda n=name: anna.put(f"Home/jo/{n}", note(1)),
            lambda n=name: anna.remove(f"Home/jo/{n}", note(1)),
        ):
            with pytest.raises(PermanentReplyError) as caught:
                act()
            texts.add(str(caught.value))
    assert {"anna has no right to do this here (403)"} == texts
    with pytest.raises(NotFoundReplyError):
        jo.subscribe("Home/jo/Nothing")


def test_a_revoked_right_ends_a_subscription(root: Mdird, jo: Mdird, anna: Mdird) -> None:
    """Nothing that comes after it is pushed."""
    set_rights(jo, "Home/jo", rights=("read anna",))
    events = iter(anna.subscribe("Home/jo", timeout=30))
    next(events)
    next(events)
    jo.put("Home/jo", note(1))
    assert isinstance(next(events), Patch)
    next(events)
    set_rights(jo, "Home/jo", rights=())
    jo.put("Home/jo", note(2))
    (end,) = events
    assert isinstance(end, End)
    assert 403 == end.status


def test_whoever_is_no_user_any_more_is_cut(served: Served, root: Mdird, jo: Mdird) -> None:
    """Removed, or with another token: open connections end, and get nothing more."""
    for end in (
        lambda: renew_token(root, "Users", "jo"),
        lambda: remove_user(root, "Users", "jo"),
    ):
        token = renew_token(root, "Users", "jo")
        with connect(served.tls("jo", token)) as mdird:
            subscription = mdird.subscribe("Home/jo", timeout=30)
            events = iter(subscription)
            while not isinstance(next(events), Now):
                pass
            end()
            root.put("Home/jo", note(7))
            got: list[object] = []
            with suppress(TransportError):
                got.extend(events)
            assert not [event for event in got if isinstance(event, Patch)]
            with pytest.raises((TransportError, PermanentReplyError)):
                mdird.put("Home/jo", note(8))


def test_a_removed_user_is_cut_also_when_others_ask_meanwhile(
    served: Served, root: Mdird, jo: Mdird
) -> None:
    """What is asked right after the removal, on the same connection, notices it first."""
    for number in range(5):
        name = f"guest{number}"
        token = add_user(root, "Users", name)
        make_folder(root, f"Home/{name}")
        set_rights(root, f"Home/{name}", owner=name)
        with connect(served.tls(name, token)) as guest, socket.socket(socket.AF_UNIX) as peer:
            guest.put(f"Home/{name}", note(1))
            peer.connect(f"{served.path}/socket")
            lines = f"rem Users\ntype: user\nname: {name}\n\nget /\n\nquit\n"
            peer.sendall(lines.encode())
            while peer.recv(65536):
                pass
            deadline = time.monotonic() + 10
            while not any("no longer a user" in line and name in line for line in served.log):
                assert time.monotonic() < deadline
                time.sleep(0.01)


def test_what_comes_after_a_revocation_is_not_pushed(
    served: Served, root: Mdird, jo: Mdird, anna: Mdird
) -> None:
    """Also where another process revokes and puts, and others begin to follow."""
    with served.embedded() as beside:
        for number in range(15):
            set_rights(beside, "Home/jo", rights=("read anna",))
            events = iter(anna.subscribe("Home/jo", timeout=30))
            while not isinstance(next(events), Now):
                pass
            set_rights(beside, "Home/jo", rights=("none anna",))
            beside.put("Home/jo", note(number))
            jo.subscribe("Home/jo", timeout=0).close()
            last = list(events)
            assert [403] == [event.status for event in last if isinstance(event, End)]
            assert not [e for e in last if isinstance(e, Patch) and e.header == note(number)]


def test_rights_that_were_rolled_back_or_changed_are_not_remembered(tmp_path: Path) -> None:
    """Whatever changed folders before in the same transaction."""
    store = DirectoryMstore(tmp_path / "store")
    with EmbeddedMdird(tmp_path, store) as mdird:
        make_folder(mdird, "A")
        add_user(mdird, "Users", "anna")
        set_rights(mdird, "A", rights=("read,write anna",))
        anna = Actor("anna")

        def directory(folder: str, name: str) -> Operation:
            return Operation("PUT", folder, Header([("type", "dir"), ("name", name)]))

        both = [directory("A", "s"), Operation("PUT", "A", note(1))]
        assert [[1, 2]] != mdird.run_groups([(anna, both)])
        set_rights(mdird, "A", rights=("none anna",))
        groups = [
            (ADMINISTRATOR, [directory("", "t")]),
            (anna, [Operation("PUT", "A", note(2))]),
        ]
        answers = mdird.run_groups(groups)
        assert answers
        assert isinstance(answers[1], ReplyError)


def test_who_may_only_write_learns_nothing(root: Mdird, anna: Mdird, smtp: Mdird) -> None:
    """Of a content that is not theirs, the answer is the same whether it is there or not."""
    there, absent = (
        smtp.store.add(MAIL.replace(b"one@", b"%d@" % number)).headers()[0] for number in (1, 2)
    )
    smtp.classify("Home/jo", there)
    set_rights(root, "Home/jo", rights=("write anna",))
    answers = []
    for header in (there, absent):
        for act in (anna.put, anna.classify, partial(anna.set, base=0)):
            with pytest.raises(PermanentReplyError) as caught:
                act("Home/jo", header)
            answers.append(str(caught.value).replace(header["url"], "URL"))
    assert 1 == len(set(answers))


def test_a_removed_user_follows_nothing(root: Mdird, smtp: Mdird) -> None:
    """With the entry go the rights that it gave."""
    events = iter(smtp.subscribe("Home/jo", timeout=30))
    assert isinstance(next(events), Patch)
    next(events)
    root.remove("Users", Header([("type", "user"), ("name", "smtp")]))
    (end,) = events
    assert isinstance(end, End)
    assert 403 == end.status
    with closing(smtp):  # a new connection would not even be let in
        assert 401 == refused(lambda: smtp.put("Home/jo", note(1)))


def test_a_header_does_not_open_a_strangers_content(
    root: Mdird, jo: Mdird, anna: Mdird, smtp: Mdird
) -> None:
    """A url of the own store can be put by who reads an entry with it, or uploaded it."""
    message = smtp.store.add(MAIL)
    first, second = message.headers()
    smtp.classify("Home/jo", first)
    smtp.put("Home/jo", second)
    for act in (
        lambda: anna.put("Home/anna", first),
        lambda: anna.classify("Home/anna", first),
        lambda: anna.set("Home/anna", first, base=0),
    ):
        assert 403 == refused(act)
    assert "mdir:one@x.org/1" not in anna.store
    assert jo.put("Home/jo", first) > 0
    make_folder(jo, "Home/jo/Copies")
    jo.put("Home/jo/Copies", first)
    uploaded = anna.store.add(MAIL.replace(b"<one@x.org>", b"<two@x.org>")).headers()[0]
    anna.put("Home/anna", uploaded)
    # A spelling of the url that is not canonical is the same url.
    spelt = first.replace("url", "mdir:%6fne%40x.org/1")
    assert 403 == refused(lambda: anna.put("Home/anna", spelt))


def test_the_original_needs_every_part(jo: Mdird, smtp: Mdird, root: Mdird) -> None:
    """Part 0 is open to who reads all parts, whatever a header says of their number."""
    first, second = smtp.store.add(MAIL).headers()
    smtp.put("Home/jo", first)
    forged = first.replace("parts", "1")
    version = jo.put("Home/jo", first)
    jo.set("Home/jo", forged, base=version)
    assert "mdir:one@x.org/0" not in jo.store
    assert 403 == refused(lambda: jo.put("Home/jo", first.replace("url", "mdir:one@x.org/0")))
    assert 403 == refused(lambda: jo.put("Home/jo", first.replace("url", "mdir:one@x.org/2")))
    smtp.put("Home/jo", second)
    with jo.store.open("mdir:one@x.org/0") as file:
        assert MAIL == file.read()


def test_an_owner_makes_no_connector(root: Mdird, jo: Mdird) -> None:
    """Else every user could open every content."""
    for rules in (("connector jo",), ("read,connector *",)):
        assert 403 == refused(lambda rules=rules: set_rights(jo, "Home/jo", rights=rules))
    identifier = folder_id(jo, "Home/jo")
    for url, status in ((rights_url(identifier), 403), ("mdir:other@x.org/1", 400)):
        fields = [("url", url), ("type", "rights"), ("right", "connector jo")]
        base = 1 if status == 403 else 0
        assert status == refused(lambda f=fields, b=base: jo.set("Home/jo", Header(f), base=b))


def test_a_mount_gives_no_rights(root: Mdird, jo: Mdird, anna: Mdird) -> None:
    """Neither by an inherited owner, nor by removing the first name later."""
    make_folder(jo, "Home/jo/Box")
    identifier = folder_id(root, "Home/jo/Box")
    mount = Header([("type", "dir"), ("name", "Mine"), ("id", identifier)])
    assert 403 == refused(lambda: anna.put("Home/anna", mount))
    root.put("Home/anna", mount)
    assert 403 == refused(lambda: list(anna.lookup("Home/anna/Mine")))
    set_rights(jo, "Home/jo/Box", rights=("read,write anna",))
    anna.put("Home/anna/Mine", note(1))
    assert [note(1)] == items(jo, "Home/jo/Box")
    assert 403 == refused(
        lambda: anna.remove("Home/anna", Header([("type", "dir"), ("name", "Mine")]))
    )


def test_users_and_rules_are_for_admins(root: Mdird, jo: Mdird, anna: Mdird) -> None:
    """Who may write in a folder does not act for its owner."""
    set_rights(root, "Home/jo", rights=("read,write anna",))
    for kind in ("user", "stribution"):
        entry = note(1, ("type", kind), ("name", "x"))
        assert 403 == refused(lambda entry=entry: anna.put("Home/jo", entry))
        version = jo.put("Home/jo", entry)
        assert 403 == refused(lambda v=version: anna.set("Home/jo", note(1), base=v))
        pattern = Header([("type", kind)])
        assert 403 == refused(lambda p=pattern: anna.remove("Home/jo", p))
        assert 1 == jo.remove("Home/jo", pattern)


def test_secrets_are_shown_to_admins_and_connectors(root: Mdird, jo: Mdird, smtp: Mdird) -> None:
    """By listing, by push, and by asking with a pattern."""
    set_rights(root, "Users", rights=("read jo", "connector smtp"))
    _, entry = find_user(root, "Users", "jo")
    assert entry
    token = entry["token-hash"]
    assert [token] == [h["token-hash"] for h in smtp.lookup("Users", Header([("name", "jo")]))]
    names = [header.get("token-hash") for header in jo.lookup("Users")]
    assert {None} == set(names)
    assert [] == list(jo.lookup("Users", Header([("token-hash", token)])))
    events = iter(jo.subscribe("Users", timeout=30))
    listed = [next(events) for _ in names]
    assert not any(isinstance(e, Patch) and "token-hash" in e.header for e in listed)
    next(events)
    set_password(root, "Users", "jo", "a secret of some length")
    pushed = next(events)
    assert isinstance(pushed, Patch)
    assert not {"token-hash", "password-hash"} & {name for name, _ in pushed.header}


def test_tokens_and_passwords(served: Served, root: Mdird) -> None:
    """Both let in; a renewed token ends the old one; what is wrong does not."""
    token = add_user(root, "Users", "jo")
    set_password(root, "Users", "jo", "correct horse")
    for secret in (token, "correct horse"):
        connect(served.tls("jo", secret)).close()
    renewed = renew_token(root, "Users", "jo")
    connect(served.tls("jo", renewed)).close()
    for secret in (token, "Correct horse", "x"):
        with pytest.raises(PermanentReplyError) as caught:
            connect(served.tls("jo", secret))
        assert 401 == caught.value.status


def test_wrong_tokens_are_slowed_down(served: Served, root: Mdird) -> None:
    """The more from one address, the longer the answer takes, right or wrong."""
    token = add_user(root, "Users", "jo")
    set_password(root, "Users", "jo", "correct horse")
    for _ in range(5):
        with pytest.raises(PermanentReplyError):
            connect(served.tls("jo", "wrong"))
    begin = time.monotonic()
    connect(served.tls("jo", "correct horse")).close()
    assert time.monotonic() - begin >= 0.9
    assert any("auth-failed" in line for line in served.log)
    for _ in range(3):
        with pytest.raises(PermanentReplyError):
            connect(served.tls("jo", "wrong"))
    begin = time.monotonic()
    with pytest.raises(PermanentReplyError):
        connect(served.tls("jo", "wrong"))
    wrong = time.monotonic() - begin
    begin = time.monotonic()
    connect(served.tls("jo", token)).close()
    assert time.monotonic() - begin < wrong / 2  # it cannot be guessed: it waits for nobody


def test_many_wrong_tokens_at_once_are_slowed_down_too(served: Served, root: Mdird) -> None:
    """And they do not keep others out."""
    token = add_user(root, "Users", "jo")
    answered: list[float] = []

    def guess() -> None:
        with pytest.raises((PermanentReplyError, TransportError)):
            connect(served.tls("jo", "wrong"), timeout=30)
        answered.append(time.monotonic())

    begin = time.monotonic()
    threads = [threading.Thread(target=guess) for _ in range(20)]
    for thread in threads:
        thread.start()
    while len(answered) < 3:
        time.sleep(0.01)
    connect(served.tls("jo", token)).close()
    assert len(answered) < 15
    for thread in threads:
        thread.join()
    assert max(answered) - begin > 3

"""The contract of `Mdird`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from mdirclient.errors import (
    ConflictReplyError,
    NotFoundReplyError,
    PermanentReplyError,
    ReplyError,
)
from mdirclient.header import Header
from mdirclient.interfaces import Mdird, Subscription
from mdirclient.mdird.rules import install_rules, read_reports
from mdirclient.mdird.tree import folder_id, make_folder
from mdirclient.patch import End, Now, Patch


def item(number: int, *fields: tuple[str, str]) -> Header:
    """The header of an entry."""
    return Header([("url", f"mdir:{number}@x.org/1"), *fields])


def directory(name: str, *fields: tuple[str, str]) -> Header:
    """The header of a folder."""
    return Header([("type", "dir"), ("name", name), *fields])


def missed(mdird: Mdird, folder: str, version: int = 0) -> list[tuple[str, str]]:
    """(action, url or name) of what a subscriber at a version misses."""
    return [
        (event.action, event.header.get("url") or event.header["name"])
        for event in mdird.subscribe(folder, version, timeout=0)
        if isinstance(event, Patch)
    ]


class MdirdContract:
    """Derive from it and give the fixtures `mdird` and `other`: two connections to one
    fresh mdird, as two processes have them.
    """

    @pytest.fixture(autouse=True)
    def _folder(self, mdird: Mdird) -> None:
        make_folder(mdird, "A/B")

    # -- PUT, SET, REM

    def test_put_counts(self, mdird: Mdird, other: Mdird) -> None:
        """Versions grow; a live url changes nothing and answers its version."""
        first, second = mdird.put("A", item(1)), other.put("A", item(2))
        assert first < second
        assert first == other.put("A", item(1, ("subject", "changed")))
        assert [item(1), item(2)] == list(mdird.lookup("A"))[1:]

    def test_url_is_compared_decoded(self, mdird: Mdird) -> None:
        """Two spellings of a url are one entry."""
        version = mdird.put("A", Header([("url", "mdir:a+b@x/1")]))
        assert version == mdird.put("A", Header([("url", "mdir:a%2Bb%40x/1")]))
        assert 1 == mdird.remove("A", Header([("url", "mdir:%61%2bb@x/1")]))

    def test_set_replaces_at_its_base(self, mdird: Mdird) -> None:
        """SET needs the live version, or 0 for none; it is pushed as + with the same url."""
        with pytest.raises(ConflictReplyError):
            mdird.set("A", item(1), base=3)
        version = mdird.set("A", item(1), base=0)
        changed = item(1, ("flag", "seen"))
        newer = mdird.set("A", changed, base=version)
        assert newer > version
        with pytest.raises(ConflictReplyError):
            mdird.set("A", item(1), base=version)
        assert changed in list(mdird.lookup("A"))
        assert [("+", "mdir:1@x.org/1")] == missed(mdird, "A", version)

    def test_remove_by_pattern(self, mdird: Mdird) -> None:
        """REM removes every entry that has all fields of the pattern, and counts them."""
        for number, colour in enumerate(["red", "blue", "red"]):
            mdird.put("A", item(number, ("colour", colour), ("size", "1")))
        assert 2 == mdird.remove("A", Header([("colour", "red"), ("size", "1")]))
        assert 0 == mdird.remove("A", Header([("colour", "red")]))
        assert ["mdir:1@x.org/1"] == [
            header["url"] for header in mdird.lookup("A") if "url" in header
        ]

    def test_remove_needs_a_pattern(self, mdird: Mdird) -> None:
        """An empty pattern is refused."""
        with pytest.raises(PermanentReplyError) as caught:
            mdird.remove("A", Header())
        assert 400 == caught.value.status

    @pytest.mark.parametrize("kind", ["user", "stribution"])
    def test_guarded_types_need_a_type_in_the_pattern(self, mdird: Mdird, kind: str) -> None:
        """Users and rules are not removed by accident."""
        mdird.put("A", item(1, ("type", kind), ("colour", "red")))
        assert 0 == mdird.remove("A", Header([("colour", "red")]))
        assert 1 == mdird.remove("A", Header([("colour", "red"), ("type", kind)]))

    def test_a_removed_url_can_come_back(self, mdird: Mdird) -> None:
        """It gets a new version."""
        first = mdird.put("A", item(1))
        mdird.remove("A", Header([("url", "mdir:1@x.org/1")]))
        assert mdird.put("A", item(1)) > first

    @pytest.mark.parametrize("fields", [[], [("url", "nonsense")], [("type", "dir")]])
    def test_put_needs_an_identity(self, mdird: Mdird, fields: list[tuple[str, str]]) -> None:
        """Without a url, or a name for a folder, a header is refused."""
        with pytest.raises(PermanentReplyError) as caught:
            mdird.put("A", Header(fields))
        assert 400 == caught.value.status

    @pytest.mark.parametrize("folder", ["none", "A/none", "A/B/C"])
    def test_unknown_folder(self, mdird: Mdird, folder: str) -> None:
        """404."""
        for operation in (
            lambda: mdird.put(folder, item(1)),
            lambda: list(mdird.lookup(folder)),
            lambda: mdird.subscribe(folder),
        ):
            with pytest.raises(NotFoundReplyError):
                operation()

    # -- CLASS

    def test_classify_stays_without_rules(self, mdird: Mdird) -> None:
        """Without rules an entry stays in the folder it was given to."""
        mdird.classify("A/B", item(1))
        assert [item(1)] == list(mdird.lookup("A/B"))

    def test_classify_is_remembered(self, mdird: Mdird, other: Mdird) -> None:
        """A repeat does not bring back what the user removed."""
        mdird.classify("A/B", item(1))
        mdird.remove("A/B", Header([("url", item(1)["url"])]))
        other.classify("A/B", item(1, ("received", "later")))
        assert [] == list(mdird.lookup("A/B"))

    def test_classify_files_by_rules(self, mdird: Mdird) -> None:
        """Into folders that are made where they are missing, and on by the rules of these."""
        install_rules(mdird, "A", b'require "fileinto"; fileinto "C/D"; keep;')
        mdird.classify("A", item(1))
        assert [item(1)] == list(mdird.lookup("A/C/D"))
        assert item(1) in list(mdird.lookup("A"))
        install_rules(mdird, "A/C/D", b"discard;")
        mdird.classify("A", item(2))
        assert [item(1)] == [found for found in mdird.lookup("A/C/D") if "type" not in found]
        assert item(2) in list(mdird.lookup("A"))

    def test_put_asks_no_rules(self, mdird: Mdird) -> None:
        """What a user files stays there."""
        install_rules(mdird, "A", b"discard;")
        mdird.put("A", item(1))
        assert item(1) in list(mdird.lookup("A"))

    def test_broken_rules_keep(self, mdird: Mdird) -> None:
        """And the error stands beside them, once."""
        stored = mdird.store.add_file(b"keep;\nnonsense;", media_type="application/sieve")
        mdird.put("A", Header([*stored.headers()[0], ("type", "stribution")]))
        for number in (1, 2):
            mdird.classify("A", item(number))
            assert item(number) in list(mdird.lookup("A"))
        (report,) = read_reports(mdird, "A")
        assert ("2", item(1)["url"]) == (report["line"], report["message"])
        install_rules(mdird, "A", b"keep;")
        assert () == read_reports(mdird, "A")

    def test_the_newest_rules_count(self, mdird: Mdird) -> None:
        """Whatever others there are."""
        for script in (b"keep;", b"discard;"):
            stored = mdird.store.add_file(script, media_type="application/sieve")
            mdird.put("A/B", Header([*stored.headers()[0], ("type", "stribution")]))
        mdird.classify("A/B", item(1))
        assert item(1) not in list(mdird.lookup("A/B"))

    # -- BATCH

    def test_batch_is_one_transaction(self, mdird: Mdird, other: Mdird) -> None:
        """Nothing is seen before the end, everything after it."""
        with mdird.batch() as batch:
            batch.put("A/B", item(1))
            batch.classify("A/B", item(2))
            batch.remove("A/B", Header([("url", item(1)["url"])]))
            assert [] == list(other.lookup("A/B"))
        assert [item(2)] == list(other.lookup("A/B"))

    def test_batch_fails_as_a_whole(self, mdird: Mdird) -> None:
        """One refused change refuses all; receipts included."""
        with pytest.raises(NotFoundReplyError), mdird.batch() as batch:
            batch.classify("A/B", item(1))
            batch.put("none", item(2))
        assert [] == list(mdird.lookup("A/B"))
        mdird.classify("A/B", item(1))
        assert [item(1)] == list(mdird.lookup("A/B"))

    def test_batch_is_dropped_by_an_error(self, mdird: Mdird) -> None:
        """An error in the context sends nothing."""
        with pytest.raises(ZeroDivisionError), mdird.batch() as batch:
            batch.put("A/B", item(1))
            raise ZeroDivisionError
        assert [] == list(mdird.lookup("A/B"))

    # -- folders

    def test_folders_are_entries(self, mdird: Mdird) -> None:
        """A folder has a name and an id; making it again changes nothing."""
        version = mdird.put("", directory("A"))
        assert version == mdird.put("/", directory("A", ("id", folder_id(mdird, "A"))))
        (header,) = mdird.lookup("A", Header([("type", "dir")]))
        assert ("B", folder_id(mdird, "A/B")) == (header["name"], header["id"])

    def test_mount(self, mdird: Mdird, other: Mdird) -> None:
        """A second dir entry with the same id is another name of the same folder."""
        make_folder(mdird, "Home")
        mdird.put("Home", directory("Emails", ("id", folder_id(mdird, "A/B"))))
        version = mdird.put("A/B", item(1))
        assert [item(1)] == list(other.lookup("Home/Emails"))
        assert version == mdird.put("Home/Emails", item(1))

    def test_loops_are_refused(self, mdird: Mdird) -> None:
        """A folder cannot be mounted inside of itself, at any depth."""
        for folder in ("A", "A/B"):
            with pytest.raises(ConflictReplyError):
                mdird.put(folder, directory("again", ("id", folder_id(mdird, "A"))))

    def test_a_name_is_taken_once(self, mdird: Mdird) -> None:
        """Another folder under a taken name is refused."""
        with pytest.raises(ConflictReplyError):
            mdird.put("A", directory("B", ("id", "another")))

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\nb", "x" * 256])
    def test_names_are_checked(self, mdird: Mdird, name: str) -> None:
        """400."""
        with pytest.raises(ReplyError) as caught:
            mdird.put("A", directory(name))
        assert 400 == caught.value.status

    def test_the_last_name_of_a_full_folder_stays(self, mdird: Mdird) -> None:
        """A folder with entries is removed only while it has another name."""
        mdird.put("A/B", item(1))
        pattern = Header([("type", "dir"), ("name", "B")])
        with pytest.raises(ConflictReplyError):
            mdird.remove("A", pattern)
        mdird.put("", directory("also", ("id", folder_id(mdird, "A/B"))))
        assert 1 == mdird.remove("A", pattern)
        assert [item(1)] == list(mdird.lookup("also"))

    # -- subscriptions

    def test_what_is_missing_then_now(self, mdird: Mdird) -> None:
        """A subscriber gets what changed since its version, in order, and Now."""
        version = mdird.put("A/B", item(1))
        mdird.put("A/B", item(2))
        mdird.remove("A/B", Header([("url", item(1)["url"])]))
        events = list(mdird.subscribe("A/B", version, timeout=0))
        patches = [event for event in events if isinstance(event, Patch)]
        assert [("+", item(2)), ("-", Header([("url", item(1)["url"])]))] == [
            (patch.action, patch.header) for patch in patches
        ]
        assert version == patches[0].old_version
        assert patches[0].new_version == patches[1].old_version
        assert Now("A/B", patches[1].new_version) == events[-1]

    def test_version_0_is_a_listing(self, mdird: Mdird) -> None:
        """The live entries alone."""
        mdird.put("A/B", item(1))
        mdird.put("A/B", item(2))
        mdird.remove("A/B", Header([("url", item(1)["url"])]))
        with closing(mdird.subscribe("A/B", timeout=0)) as subscription:
            assert subscription.is_listing
        assert [("+", "mdir:2@x.org/1")] == missed(mdird, "A/B")

    def test_another_epoch_is_a_listing(self, mdird: Mdird) -> None:
        """Also where the version is above: a restored server counts anew."""
        version = mdird.put("A/B", item(1))
        subscription = mdird.subscribe("A/B", version + 100, epoch="another", timeout=0)
        assert subscription.is_listing
        assert [item(1)] == [e.header for e in subscription if isinstance(e, Patch)]

    def test_a_version_above_is_refused(self, mdird: Mdird) -> None:
        """409, never `nothing new`."""
        version = mdird.put("A/B", item(1))
        with pytest.raises(ConflictReplyError):
            mdird.subscribe("A/B", version + 1)

    def test_pushes_from_another_connection(self, mdird: Mdird, other: Mdird) -> None:
        """A subscriber that waits gets what others put."""
        subscription = mdird.subscribe("A/B", timeout=30)
        events = iter(subscription)
        assert Now("A/B", 0) == next(events)
        version = other.put("A/B", item(1))
        assert Patch("A/B", 0, version, "+", item(1)) == next(events)
        assert Now("A/B", version) == next(events)
        subscription.close()

    def test_pushes_from_its_own_connection(self, mdird: Mdird) -> None:
        """And what is put on the same connection."""
        subscription = mdird.subscribe("A/B", timeout=30)
        events = iter(subscription)
        next(events)
        mdird.put("A/B", item(1))
        assert isinstance(next(events), Patch)
        subscription.close()

    def test_close_ends_one_that_waits(self, mdird: Mdird) -> None:
        """Also from another thread."""
        subscription = mdird.subscribe("A/B")
        seen = threading.Event()
        ended = threading.Event()

        def follow(followed: Subscription) -> None:
            for _ in followed:
                seen.set()
            ended.set()

        thread = threading.Thread(target=follow, args=(subscription,))
        thread.start()
        assert seen.wait(30)
        subscription.close()
        assert ended.wait(30)
        thread.join()

    def test_a_folder_that_goes_ends(self, mdird: Mdird, other: Mdird) -> None:
        """END 404 when its last name is removed."""
        events: Iterator[object] = iter(mdird.subscribe("A/B", timeout=30))
        next(events)
        other.remove("A", Header([("type", "dir"), ("name", "B")]))
        (end,) = events
        assert isinstance(end, End)
        assert 404 == end.status

    def test_many_entries_are_listed_in_pages(self, mdird: Mdird) -> None:
        """More than a page, in order, each once."""
        expected = [item(number, ("colour", "red")) for number in range(1200)]
        with mdird.batch() as batch:
            for header in expected:
                batch.put("A/B", header)
        assert expected == list(mdird.lookup("A/B"))
        assert 1200 == len(missed(mdird, "A/B"))
        assert 1200 == mdird.remove("A/B", Header([("colour", "red")]))
        assert [] == list(mdird.lookup("A/B"))

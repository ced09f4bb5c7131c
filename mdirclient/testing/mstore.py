"""The contract of `Mstore`."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from mdirclient.errors import EmptyMessageError, PartURLError, UnknownContentError
from mdirclient.interfaces import Mstore
from mdirclient.url import PartURL

TWO_PARTS = (
    b"Message-ID: <two@x.org>\r\nSubject: =?utf-8?q?=C3=A9t=C3=A9?=\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"preamble\r\n--b\r\n\r\nhello\r\n--b\r\nContent-Type: image/png\r\n"
    b'Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename="a.png"\r\n'
    b"\r\niVBORw0K\r\n--b--\r\nepilogue\r\n"
)


def _other(mail: bytes) -> bytes:
    return mail.replace(b"hello", b"other")


class MstoreContract:
    """Derive from it and give the fixture `store`: a fresh, empty store."""

    def test_parts_and_original_come_back(self, store: Mstore) -> None:
        """Each part gives its decoded content, part 0 the original."""
        message = store.add(TWO_PARTS)
        contents = []
        for number in range(3):
            with store.open(f"mdir:two@x.org/{number}") as file:
                contents.append(file.read())
        assert [TWO_PARTS, b"hello", b"\x89PNG\r\n"] == contents
        assert [5, 6] == [part.size for part in message.parts]

    def test_headers_are_ready_for_mdird(self, store: Mstore) -> None:
        """Each part's header has its own fields, the trace and the mail's fields."""
        _, header = store.add(TWO_PARTS).headers(envelope_to="j@x.org", received=["a", "b"])
        expected = {
            "url": "mdir:two@x.org/2",
            "anchor": "mdir:two@x.org/1",
            "part": "2",
            "parts": "2",
            "section": "2",
            "within": "multipart/mixed",
            "suggested-name": "a.png",
            "content-type": "image/png",
            "size": "6",
            "subject": "été",
            "envelope-to": "j@x.org",
            "message-size": str(len(TWO_PARTS)),
        }
        assert expected == {name: header[name] for name in expected}
        assert ("a", "b") == header.get_all("received")

    def test_same_mail_is_same_url(self, store: Mstore) -> None:
        """Adding again changes nothing."""
        assert store.add(TWO_PARTS).headers() == store.add(io.BytesIO(TWO_PARTS)).headers()

    def test_other_mail_of_same_id_is_kept_beside(self, store: Mstore) -> None:
        """A different mail under a known message-id is a variant, also when it comes again."""
        store.add(TWO_PARTS)
        variant = store.add(_other(TWO_PARTS))
        assert variant.anchor == store.add(_other(TWO_PARTS)).anchor
        assert variant.sha256[:16] == variant.anchor.variant
        with store.open(variant.anchor) as file:
            assert b"other" == file.read()
        with store.open("mdir:two@x.org/1") as file:
            assert b"hello" == file.read()

    @pytest.mark.parametrize(
        "line", [b"", b"Message-ID: <>\n", b"Message-ID: <a b@x>\n", b"Message-ID: <..>\n"]
    )
    def test_unusable_message_id_is_made(self, store: Mstore, line: bytes) -> None:
        """A mail without a usable message-id gets one from its bytes, each time the same."""
        mail = line + b"Subject: x\n\nbody\n"
        first, again = store.add(mail), store.add(mail)
        assert f"{first.sha256}@sha256.invalid" == first.message_id
        assert first.anchor == again.anchor

    def test_ids_that_differ_in_case_never_merge(self, store: Mstore) -> None:
        """`One@x` and `one@x` are two messages."""
        first = store.add(b"Message-ID: <One@x>\n\n1")
        second = store.add(b"Message-ID: <one@x>\n\n2")
        with store.open(first.anchor) as one, store.open(second.anchor) as two:
            assert (b"1", b"2") == (one.read(), two.read())

    def test_receive_in_pieces(self, store: Mstore) -> None:
        """Pushed byte by byte it is the same message."""
        with store.receive() as receiver:
            for byte in TWO_PARTS:
                receiver.write(bytes([byte]))
            pushed = receiver.commit()
        assert pushed == store.add(TWO_PARTS)

    def test_receive_prepared(self, store: Mstore) -> None:
        """What takes long can be done before the commit."""
        with store.receive() as receiver:
            receiver.write(TWO_PARTS)
            receiver.prepare()
            receiver.prepare()
            assert receiver.commit() == store.add(TWO_PARTS)

    def test_commit_all(self, store: Mstore) -> None:
        """Each has its own outcome: new ones, the same, another of the same id, an empty one."""
        store.add(TWO_PARTS)
        third = b"Message-ID: <three@x.org>\n\n3"
        mails = [TWO_PARTS, _other(TWO_PARTS), b"", third, third, third + b"3"]
        with ExitStack() as stack:
            receivers = [stack.enter_context(store.receive()) for _ in mails]
            for number, (receiver, mail) in enumerate(zip(receivers, mails, strict=True)):
                receiver.write(mail)
                if mail and number % 2:
                    receiver.prepare()
            outcome = store.commit_all(receivers)
        assert isinstance(outcome.pop(2), EmptyMessageError)
        assert [store.add(mail) for mail in mails if mail] == outcome
        assert store.commit_all([]) == []

    def test_receive_without_commit_is_dropped(self, store: Mstore) -> None:
        """A message that was not committed is not there."""
        with store.receive() as receiver:
            receiver.write(TWO_PARTS)
        assert "mdir:two@x.org/1" not in store

    def test_empty_message_is_refused(self, store: Mstore) -> None:
        """0 bytes are no mail."""
        with pytest.raises(EmptyMessageError):
            store.add(b"")

    def test_add_file(self, store: Mstore, tmp_path: Path) -> None:
        """Anything else becomes one part with a random id; two of the same are two."""
        path = tmp_path / "note"
        path.write_bytes(b"note")
        first = store.add_file(path, media_type="text/plain", suggested_name="note.txt")
        second = store.add_file(b"note", media_type="text/plain")
        assert first.anchor != second.anchor
        assert "note.txt" == first.headers()[0]["suggested-name"]
        with store.open(first.anchor) as file:
            assert b"note" == file.read()

    def test_add_file_again(self, store: Mstore) -> None:
        """Under an id of one's own: the same is the same, another content is kept beside it."""
        chosen = f"{16 * '0f'}@file.invalid"
        first, second, other = (
            store.add_file(content, media_type="text/plain", message_id=chosen)
            for content in (b"note", b"note", b"another")
        )
        assert chosen == first.message_id
        assert first.anchor == second.anchor
        assert first.anchor != other.anchor
        for message, expected in ((first, b"note"), (other, b"another")):
            with store.open(message.anchor) as file:
                assert expected == file.read()

    @pytest.mark.parametrize("message_id", ["", "two@x.org", f"{16 * '0F'}@file.invalid", "../x"])
    def test_add_file_under_the_id_of_a_mail(self, store: Mstore, message_id: str) -> None:
        """It is refused: a mail might come under it."""
        with pytest.raises(PartURLError):
            store.add_file(b"note", media_type="text/plain", message_id=message_id)

    @pytest.mark.parametrize(
        "url", ["mdir:two@x.org/3", "mdir:none@x.org/1", "https://elsewhere/two@x.org/1"]
    )
    def test_unknown_content(self, store: Mstore, url: str) -> None:
        """What is not there, or of another base, is an error and not contained."""
        store.add(TWO_PARTS)
        assert url not in store
        with pytest.raises(UnknownContentError):
            store.open(url)

    def test_contains(self, store: Mstore) -> None:
        """Parts and the original are contained; what is no url is not."""
        store.add(TWO_PARTS)
        assert "mdir:two@x.org/0" in store
        assert PartURL("mdir:", "two@x.org", 2) in store
        assert "nonsense" not in store

    def test_many_threads_add_the_same(self, store: Mstore) -> None:
        """Eight threads and two mails of one message-id: two messages."""
        mails = [TWO_PARTS, _other(TWO_PARTS)] * 20
        with ThreadPoolExecutor(8) as pool:
            anchors = list(pool.map(lambda mail: store.add(mail).anchor, mails))
        for anchor, mail in zip(anchors, mails, strict=True):
            with store.open(f"{str(anchor).removesuffix('1')}0") as file:
                assert mail == file.read()
        assert 2 == len(set(anchors))

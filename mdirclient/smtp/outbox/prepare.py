"""What is sent of a mail in the outbox: its bytes, and its envelope. Reads and writes the store.

Blocks: run in a thread.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import IO, TYPE_CHECKING, Final

import attrs

from mdirclient import _fs
from mdirclient.errors import ComposeError, MdirError, PartURLError
from mdirclient.header import Header
from mdirclient.mail.block import lines_of
from mdirclient.mail.compose import compose
from mdirclient.mail.fields import mailboxes
from mdirclient.mail.text import parse_media_type, unfold
from mdirclient.smtp.book import Book, normal_domain
from mdirclient.smtp.envelope import NULL_SENDER
from mdirclient.smtp.outbox.item import SENT, Item, write_time
from mdirclient.smtp.wishes import Words, read_mail, read_recipients
from mdirclient.url import DEFAULT_BASE, PartURL

if TYPE_CHECKING:
    from mdirclient.interfaces import Mstore
    from mdirclient.mail.stored import StoredMessage

#: Bytes of a mail, as `mdir-smtp serve` takes them.
MAX_SIZE: Final = 50 << 20
#: Recipients of a mail: of a sendmail more would not fit on its command line.
MAX_RECIPIENTS: Final = 1_000
#: Parts of a mail.
MAX_PARTS: Final = 1_000
#: Recipients that the headers of the sender's own copy name: a header has 1,000 fields at most.
_MAX_FILED: Final = 100
_MAX_HEADER: Final = 1 << 20
_CHUNK: Final = 1 << 16
#: Fields `received` with which a mail goes round in circles (RFC 5321 §6.3).
MAX_HOPS: Final = 50
_RECIPIENTS: Final = ("to", "cc", "bcc")
#: Where there are any of these, it goes to nobody else (RFC 5322 §3.6.6).
_RESENT: Final = ("resent-to", "resent-cc", "resent-bcc")
_BARE_CR = re.compile(rb"\r(?!\n)")
_HIDDEN: Final = frozenset(["bcc", "resent-bcc"])
_AUTHORS: Final = ("from", "sender", "resent-from", "resent-sender")
_RFC822: Final = "message/rfc822"


@attrs.define(eq=False, slots=False)
class UnsendableError(MdirError):
    """A mail that will never be sent as it is. `status` is an enhanced one (RFC 3463)."""

    status: str
    reason: str

    def message(self) -> str:
        return self.reason


@attrs.frozen
class Prepared:
    """A mail as it is sent.

    Attributes:
        path: of the file with its bytes.
        sender: the reverse path; `<>` for none.
        author: the first address of `From`.
        recipients: the forward paths.
        wishes: of what the sender wants to be told (RFC 3461), as parameters of MAIL.
        recipient_wishes: the same of recipients, as parameters of RCPT.
        filed: headers of the mail that the sender keeps.
    """

    path: str
    sender: str
    author: str
    recipients: tuple[str, ...]
    filed: tuple[Header, ...]
    wishes: Words = ()
    recipient_wishes: Mapping[str, Words] = attrs.field(factory=dict)


class Preparer:
    """Prepares mails.

    Args:
        store: with the contents; takes the mails that are composed.
    """

    def __init__(self, store: Mstore) -> None:
        self._store = store
        self._bases = {DEFAULT_BASE, getattr(store, "base", DEFAULT_BASE)}

    def prepare(self, item: Item, path: str, *, book: Book, now: datetime) -> Prepared:
        """Write the bytes of a mail to a file, and say who sends and who receives it.

        The same item gives the same bytes again, with the same Message-ID.

        Args:
            item: complete.
            path: of the file, which is not there yet; a crash may leave it.
            book: whose addresses are whose.
            now: for a mail without a date.

        Raises:
            UnsendableError: it cannot be sent as it is.
            MdirError, OSError: it cannot be prepared now.
        """
        if len(item.entries) > MAX_PARTS:
            raise UnsendableError("5.6.0", f"it has more than {MAX_PARTS:,} parts")
        urls = [self._checked(live.header) for live in item.entries]
        prepared = self._prepared(item, urls, path, book, now)
        wishes, of_recipients = read_mail(item.header), read_recipients(item.header)
        return attrs.evolve(prepared, wishes=wishes, recipient_wishes=of_recipients)

    def _prepared(
        self, item: Item, urls: list[PartURL], path: str, book: Book, now: datetime
    ) -> Prepared:
        try:
            if not item.is_composed:
                return self._complete(item, urls, path, book)
            if not self._is_letter(item):
                return self._composed(item, urls, path, book, now)
            with self._store.open(urls[0]) as file:
                stored = self._store.add(file)
            return self._original(item, stored, path, book)
        except ComposeError as error:
            raise UnsendableError("5.6.0", str(error)) from error

    # -- the three kinds

    def _composed(
        self, item: Item, urls: list[PartURL], path: str, book: Book, now: datetime
    ) -> Prepared:
        """Parts that a mail client put there."""
        header = item.header
        texts = {name: header.get_all(name) for name in (*_AUTHORS, *_RECIPIENTS, *_RESENT)}
        sender, author, recipients = _envelope(item, texts, book)
        contents, room = [], MAX_SIZE
        for url in urls:
            with self._store.open(url) as file:
                content = file.read(room + 1)
            room -= len(content)
            if room < 0:
                raise UnsendableError("5.3.4", f"it has more than {MAX_SIZE >> 20} MiB")
            contents.append(content)
        digest = hashlib.sha256(item.anchor.encode()).hexdigest()[:32]
        message_id = f"{digest}@{normal_domain(sender.rpartition('@')[2])}"
        pairs = [(live.header, one) for live, one in zip(item.entries, contents, strict=True)]
        data = compose(pairs, date=item.queued(now), message_id=message_id)
        stored = self._store.add(data)
        _fs.create(path, data, durable=False, mode=0o600)
        kept = [(name, value) for name, value in header if name in _HIDDEN]
        filed = _filed(stored, sender, recipients, now, kept)
        return Prepared(path, sender, author, recipients, filed)

    def _complete(self, item: Item, urls: list[PartURL], path: str, book: Book) -> Prepared:
        """A mail that is in the store as it is."""
        with self._store.open(attrs.evolve(urls[0], part=0)) as file:
            stored = self._store.add(file)
        # Who may read some parts must not get all of them by sending them to themselves.
        parts = {url.part for url in urls}
        if {attrs.evolve(url, part=0) for url in urls} != {attrs.evolve(urls[0], part=0)}:
            raise UnsendableError("5.6.0", "its parts are of several mails")
        if 0 not in parts and not parts.issuperset(range(1, len(stored.parts) + 1)):
            raise UnsendableError("5.6.0", "not all parts of this mail are in the outbox")
        return self._original(item, stored, path, book)

    def _original(self, item: Item, stored: StoredMessage, path: str, book: Book) -> Prepared:
        if stored.size > MAX_SIZE:
            raise UnsendableError("5.3.4", f"it has more than {MAX_SIZE >> 20} MiB")
        with self._store.open(attrs.evolve(stored.anchor, part=0)) as file:
            head, rest = _header_of(file)
            # What a bare CR hides from us would be a field of its own where it ends a line.
            head = _BARE_CR.sub(b"\r\n" if b"\r\n" in head else b"\n", head)
            fields = list(_fields(head))
            texts = texts_of((name, unfold(raw)) for name, raw, _ in fields)
            sender, author, recipients = _envelope(item, texts, book)
            check_hops(texts)
            hidden = [span for name, _, span in fields if name in _HIDDEN]
            with _fs.NewFile(path, durable=False, mode=0o600) as spooled:
                for piece in (*_without(head, hidden), rest):
                    spooled.write(piece)
                while chunk := file.read(_CHUNK):
                    spooled.write(chunk)
                spooled.close()
        now = item.queued(datetime.now().astimezone())
        filed = _filed(stored, sender, recipients, now, ())
        return Prepared(path, sender, author, recipients, filed)

    def _is_letter(self, item: Item) -> bool:
        """Whether somebody put a whole mail there as a file."""
        header = item.header
        is_mail = parse_media_type((header.get("content-type") or "").encode()) == _RFC822
        return is_mail and len(item.entries) == 1 and "from" not in header

    def _checked(self, header: Header) -> PartURL:
        """The url of an entry, which must be of the mdir's own store.

        Whoever writes an entry was asked whether they may read such a url; of other places it is
        the sender of the outbox who would be let in.
        """
        try:
            url = PartURL.parse(header.get("url") or "")
        except PartURLError as error:
            raise UnsendableError("5.6.0", str(error)) from error
        if url.base not in self._bases:
            raise UnsendableError("5.7.1", f"{url} is not in the store of this mdir")
        return url


# -- the envelope


def _envelope(
    item: Item, texts: Mapping[str, Sequence[str]], book: Book
) -> tuple[str, str, tuple[str, ...]]:
    """Reverse path, author and forward paths; users send in their own names only.

    Args:
        item: whose header may say the envelope, and whose folder says whose it is.
        texts: address fields of the mail itself.
        book: of addresses.
    """
    user = book.owner(item.address)
    if user is None:
        raise UnsendableError("5.7.1", f"there is no account of {item.address} any more")
    authors = check_authors(texts, user, book)
    given = _addresses("envelope-from", item.header.get_all("envelope-from")[:1])
    sender = (given or authors["sender"] or authors["from"])[0]
    _check_own([sender], user, book)
    if item.header.get("envelope-from") == NULL_SENDER:
        sender = NULL_SENDER  # notifications that a user's own program sends (RFC 5321 §4.5.5)
    recipients = (
        _addresses("envelope-to", item.header.get_all("envelope-to"))
        or _all_addresses(_RESENT, texts)
        or _all_addresses(_RECIPIENTS, texts)
    )
    if not recipients:
        raise UnsendableError("5.5.4", "it has no recipient: no field `to`, `cc` or `bcc`")
    if len(recipients) > MAX_RECIPIENTS:
        raise UnsendableError("5.5.3", f"it has more than {MAX_RECIPIENTS} recipients")
    return sender, authors["from"][0], recipients


def texts_of(fields: Iterable[tuple[str, str]]) -> dict[str, Sequence[str]]:
    """The values of the fields of each name."""
    texts: dict[str, list[str]] = {}
    for name, value in fields:
        texts.setdefault(name, []).append(value)
    return {**texts}


def check_authors(
    texts: Mapping[str, Sequence[str]], user: str, book: Book
) -> dict[str, tuple[str, ...]]:
    """The addresses of each field that names authors, all of them the user's own.

    Raises:
        UnsendableError: one is not, or there is none.
        ComposeError: they cannot be read.
    """
    authors = {name: _addresses(name, texts.get(name, ())) for name in _AUTHORS}
    if not authors["from"]:
        raise UnsendableError("5.6.0", "it has no field `from`; add the address of its author")
    for found in authors.values():
        _check_own(found, user, book)
    return authors


def check_hops(texts: Mapping[str, Sequence[str]]) -> None:
    """That a mail does not go round in circles.

    Raises:
        UnsendableError: it does.
    """
    if len(texts.get("received", ())) > MAX_HOPS:
        raise UnsendableError("5.4.6", f"it has more than {MAX_HOPS} fields `received`")


def _check_own(addresses: Iterable[str], user: str, book: Book) -> None:
    for address in addresses:
        local, _, domain = address.rpartition("@")
        if not book.is_own(user, _unquoted(local), domain):
            raise UnsendableError("5.7.1", f"{address} is not an address of {user}")


def _addresses(name: str, values: Iterable[str]) -> tuple[str, ...]:
    found = (mailboxes(name, value) for value in values if value.strip() not in ("", "<>"))
    addresses = tuple(dict.fromkeys(one for some in found for one in some))
    # They become words of a command line, and lines of somebody's SMTP.
    if not all(address.isascii() and address.isprintable() for address in addresses):
        raise UnsendableError("5.1.3", f"field `{name}` has an address that cannot be sent to")
    return addresses


def _all_addresses(names: Iterable[str], texts: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    found = (_addresses(name, texts.get(name, ())) for name in names)
    return tuple(dict.fromkeys(one for some in found for one in some))


def _unquoted(local: str) -> str:
    return local[1:-1].replace("\\", "") if local.startswith('"') else local


def _filed(
    stored: StoredMessage,
    sender: str,
    recipients: tuple[str, ...],
    now: datetime,
    kept: Iterable[tuple[str, str]],
) -> tuple[Header, ...]:
    """Headers of the mail as its sender keeps it."""
    headers = stored.headers(
        status=SENT,
        queued=write_time(now),
        envelope_from=sender,
        envelope_to=recipients[:_MAX_FILED],
    )
    return tuple(Header([*header, *kept]) for header in headers)


# -- the header of the original


def _header_of(file: IO[bytes]) -> tuple[bytes, bytes]:
    """The header block, and what was read behind it."""
    data = b""
    while chunk := file.read(_CHUNK):
        data += chunk
        end = _end_of_header(data)
        if end is not None:
            return data[:end], data[end:]
        if len(data) > _MAX_HEADER:
            raise UnsendableError("5.6.0", f"its header has more than {_MAX_HEADER >> 20} MiB")
    return data, b""


def _end_of_header(data: bytes) -> int | None:
    ends = [found + 1 for end in (b"\n\r\n", b"\n\n") if (found := data.find(end)) >= 0]
    return min(ends, default=None)


def _fields(head: bytes) -> Iterator[tuple[str, bytes, tuple[int, int]]]:
    """Name, raw value and place of each field; what follows a line that is none is no field."""
    pattern, place = lines_of(b"\n").field, 0
    text = head if head.endswith(b"\n") else head + b"\n"
    while match := pattern.match(text, place):
        yield match[1].decode("ascii").lower(), match[3], match.span()
        place = match.end()


def _without(data: bytes, spans: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    place = 0
    for start, end in spans:
        yield data[place:start]
        place = end
    yield data[place:]

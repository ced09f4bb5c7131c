"""A mail as every SMTP server takes it: line ends, long lines, and 8 bits. Pure, linear.

What is mended must be before a mail is signed: whoever did it later would break the signature.

Sources: RFC 5321 §2.3.8 (CR and LF only together), §4.5.3.1.6 (lines of 998 octets), RFC 6152
(8BITMIME), RFC 2045 §6, RFC 2047, RFC 1847 §2.1 (signed parts stay as they are).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

import attrs

from mdirclient.mail.block import lines_of
from mdirclient.mail.events import (
    Between,
    Leaf,
    MailBegin,
    PartBegin,
    PartContent,
    PartEnd,
    PartVoid,
)
from mdirclient.mail.split import Splitter

#: Octets of a line, without its end.
MAX_LINE: Final = 998
_CRLF: Final = b"\r\n"
_FIELDS: Final = lines_of(b"\n")
_ENCODING: Final = b"content-transfer-encoding"
#: How what says that it is not encoded begins: also `7-bit`, `8bits`.
_IDENTITY: Final = ("7", "8", "binary")
_RFC822: Final = "message/rfc822"
#: Whose parts are what somebody signed, or cannot be read.
_CLOSED: Final = frozenset(["multipart/signed", "multipart/encrypted"])
#: Mails within mails that are looked into.
_MAX_NESTED: Final = 10
#: Of a text, that are escaped in quoted-printable; with more of them base64 is shorter.
_MAX_ESCAPED: Final = 1 / 6
_BASE64_LINE: Final = 76
#: Characters of a line of quoted-printable, without the one that ends it softly.
_MAX_QUOTED: Final = 75
#: Bytes of an encoded word's text (RFC 2047 §2: 75 characters in all).
_MAX_WORD: Final = 42
#: A run of blanks that would be a line of its own.
_MAX_BLANKS: Final = 100
_HIGH: Final = bytes(range(128, 256))
_ESCAPES: Final = {byte: f"={byte:02X}" for byte in _HIGH}
_LONG_BLANK = re.compile(rb"(?<![ \t])[ \t]{%d,}" % _MAX_BLANKS)
_NAME_AND_BLANKS = re.compile(rb"^([!-9;-~]{1,998})[ \t]{1,998}(?=:)", re.MULTILINE)
_LONG_NAME = re.compile(rb"^[!-9;-~]{900,998}(?=[ \t]{0,998}:)", re.MULTILINE)
_DELIMITER = re.compile(rb"(?:\r\n)?--[^\r\n]*\r\n")
_PLAIN: Final = bytes({*range(33, 127), *b" \t\r\n"} - {*b"="})
#: The words of a field, and of one that has parameters.
_WORD = re.compile(rb'([^\s"(),:;<>@\[\]\\]+)')
_VALUE = re.compile(rb'([^\s"(),:;<>@\[\]\\=]+)')
_IS_MULTIPART = re.compile(rb"[^:]*:\s*multipart/", re.IGNORECASE)


def mend(data: bytes, *, is_8bit: bool) -> bytes:
    """A mail with CRLF at the end of every line, none of which is too long.

    A mail that is as it should be comes back as it is, but for a missing end of its last line or
    its header, and blanks before a colon. Of others as little is changed as can be: a part is
    encoded another way and says the same, a field is folded. What cannot be (a signed part, an
    encoding that is not known) has its long lines cut, as the next host would do it, and keeps its
    8 bits.

    Args:
        data: with any line ends.
        is_8bit: whether the next host takes 8 bits (8BITMIME).
    """
    data = canonical(data)
    return _mended(data if data.endswith(_CRLF) else data + _CRLF, is_8bit=is_8bit, depth=0)


def _mended(data: bytes, *, is_8bit: bool, depth: int) -> bytes:
    data = _with_header(data)
    if not _has_long_line(data) and (is_8bit or data.isascii()):
        return data
    return _Mender(is_8bit=is_8bit, depth=depth).mend(data)


def canonical(data: bytes) -> bytes:
    """A text whose lines end with CRLF; bare CRs and LFs end lines too."""
    return data.replace(_CRLF, b"\n").replace(b"\r", b"\n").replace(b"\n", _CRLF)


def header_end(data: bytes) -> int:
    """Where the fields of a mail end: before the empty line, or whatever follows them.

    Args:
        data: with LF or CRLF at the end of lines.
    """
    first = _FIELDS.run.match(data)
    end = first.end() if first and data[:1] not in (b" ", b"\t") else 0
    # A name cannot be folded: what has such a one is no field that could be sent.
    no_field = _LONG_NAME.search(data, 0, end)
    return no_field.start() if no_field else end


def _with_header(data: bytes) -> bytes:
    """The same with an empty line behind the fields, and none of an mbox before them."""
    if data.startswith(b"From "):
        data = data[data.find(b"\n") + 1 :]
    end = header_end(data)
    head = _NAME_AND_BLANKS.sub(rb"\1", data[:end])
    return head + (b"" if data.startswith(_CRLF, end) else _CRLF) + data[end:]


def _has_long_line(data: bytes) -> bool:
    return any(len(line) > MAX_LINE for line in data.split(_CRLF))


@attrs.define
class _Mender:
    """Goes through a mail; `between` waits to be known as the header of a part, or not."""

    is_8bit: bool
    depth: int
    out: list[bytes] = attrs.field(factory=list)
    between: bytes = b""

    def mend(self, data: bytes) -> bytes:
        splitter = Splitter()
        leaf: Leaf | None = None
        content: list[bytes] = []
        # In one piece: so what comes before a part is its delimiter and its header.
        for event in splitter.feed(data) + splitter.close():
            match event:
                case Between(piece):
                    self._pass_on()
                    self.between = piece
                case MailBegin():
                    self._say_in_words(0)
                case PartBegin(found):
                    leaf, content = found, []
                case PartContent(piece):
                    content.append(piece)
                case PartVoid():
                    self._pass_on()
                    self.between = b"".join(content)
                case PartEnd():
                    assert leaf
                    self._part(leaf, b"".join(content))
        self._pass_on()
        return b"".join(self.out)

    def _pass_on(self) -> None:
        """What waits is between parts: its lines are cut, and that is all."""
        self.out.append(_folded(self.between))
        self.between = b""

    def _say_in_words(self, place: int) -> None:
        """What waits is a header, from this place on."""
        head = self.between
        if self.is_8bit or head.isascii():
            return
        fields = [head[:place]]
        while match := _FIELDS.field.match(head, place):
            fields.append(_in_words(match[0], match[1].lower()))
            place = match.end()
        self.between = b"".join([*fields, head[place:]])

    def _part(self, leaf: Leaf, content: bytes) -> None:
        if _CLOSED.isdisjoint(leaf.within):
            self._say_in_words(_place_of_fields(self.between, leaf))
            content = self._content(leaf, content)
        self._pass_on()
        self.out.append(_folded(content))

    def _content(self, leaf: Leaf, content: bytes) -> bytes:
        is_odd = not self.is_8bit and not content.isascii()
        if not is_odd and not _has_long_line(content):
            return content
        encoding = leaf.encoding
        is_plain = not encoding or encoding.startswith(_IDENTITY)
        if leaf.media_type == _RFC822 and is_plain and self.depth < _MAX_NESTED:
            return _mended(content, is_8bit=self.is_8bit, depth=self.depth + 1)
        if leaf.media_type.startswith(("multipart/", "message/")):
            return content  # RFC 2045 §6.4: they are not encoded
        if encoding == "base64":
            return _rewrapped(content)
        if encoding == "quoted-printable":
            return _requoted(content)
        return self._encoded(leaf, content) if is_plain else content

    def _encoded(self, leaf: Leaf, content: bytes) -> bytes:
        """A part that is encoded from now on; its header says so."""
        escaped = len(content.translate(None, _PLAIN))
        if leaf.media_type.startswith("text/") and escaped <= _MAX_ESCAPED * len(content):
            encoding, text = b"quoted-printable", binascii.b2a_qp(content, istext=True)
        else:
            encoding, text = b"base64", base64.encodebytes(content)
            text = text if content.endswith(_CRLF) else text[:-1]
        added = b""
        if not leaf.within and not leaf.block.get(b"mime-version"):
            added += b"MIME-Version: 1.0\r\n"
        if not content.isascii() and leaf.block.get(b"content-type") is None:
            added += b"Content-Type: text/plain; charset=%s\r\n" % _charset(content)
        added += b"Content-Transfer-Encoding: %s\r\n" % encoding
        self.between = _with_fields(self.between, added, _place_of_fields(self.between, leaf))
        return canonical(text)


def _charset(text: bytes) -> bytes:
    try:
        text.decode()
    except ValueError:
        return b"unknown-8bit"  # RFC 1428
    return b"utf-8"


def _place_of_fields(head: bytes, leaf: Leaf) -> int:
    """Where the fields of a part begin, behind its delimiter."""
    delimiter = _DELIMITER.match(head) if leaf.within else None
    return delimiter.end() if delimiter else 0


def _with_fields(head: bytes, added: bytes, place: int) -> bytes:
    """A header with other fields than it had of its encoding."""
    kept = [head[:place]]
    while match := _FIELDS.field.match(head, place):
        if match[1].lower() != _ENCODING:
            kept.append(match[0])
        place = match.end()
    return b"".join([*kept, added, _CRLF])


def _rewrapped(content: bytes) -> bytes:
    """Base64 with shorter lines; what is no character of it says nothing (RFC 2045 §6.8)."""
    lines = content.translate(None, _HIGH).split(_CRLF)
    return _CRLF.join(piece for line in lines for piece in _cut(line, _BASE64_LINE))


def _cut(line: bytes, length: int) -> list[bytes]:
    if len(line) <= MAX_LINE:
        return [line]
    return [line[place : place + length] for place in range(0, len(line), length)]


def _requoted(content: bytes) -> bytes:
    """Quoted-printable with soft line breaks in long lines, and every byte of 8 bits escaped."""
    if not content.isascii():
        content = content.decode("latin-1").translate(_ESCAPES).encode("ascii")
    return _CRLF.join(b"=\r\n".join(_softly_cut(line)) for line in content.split(_CRLF))


def _softly_cut(line: bytes) -> list[bytes]:
    """A line of quoted-printable in pieces; no escape is cut."""
    if len(line) <= MAX_LINE:
        return [line]
    pieces, start = list[bytes](), 0
    while len(line) - start > _MAX_QUOTED:
        end = start + _MAX_QUOTED
        mark = line.find(b"=", end - 2, end)
        end = end if mark < 0 else mark
        pieces.append(line[start:end])
        start = end
    return [*pieces, line[start:]]


def _folded(text: bytes) -> bytes:
    """A text with its long lines folded: before a blank if there is one, else anywhere."""
    if not _has_long_line(text):
        return text
    return _CRLF.join(_folded_line(line) for line in text.split(_CRLF))


def _folded_line(line: bytes) -> bytes:
    if len(line) <= MAX_LINE:
        return line
    line = _LONG_BLANK.sub(b" ", line)
    pieces, start = list[bytes](), 0
    while len(line) - start > MAX_LINE - 1:
        most = start + MAX_LINE - 1
        cut = max(line.rfind(b" ", start + 1, most), line.rfind(b"\t", start + 1, most))
        if cut - start > _MAX_BLANKS:
            pieces.append(line[start:cut])
            start = cut
        else:
            pieces.append(line[start:most])
            start = most
    pieces.append(line[start:])
    # A blank before what was cut anywhere: without it a field would end here.
    return _CRLF.join(
        piece if not number or piece[:1] in (b" ", b"\t") else b" " + piece
        for number, piece in enumerate(pieces)
    )


def _in_words(text: bytes, name: bytes) -> bytes:
    """A field in ASCII: words that are not become encoded words (RFC 2047)."""
    is_boundary = name == b"content-type" and _IS_MULTIPART.match(text)
    if text.isascii() or is_boundary:  # what delimits parts stays as it is
        return text
    found = (_VALUE if name.startswith(b"content-") else _WORD).split(text)
    pieces, place = [found[0]], 1
    while place < len(found):
        last = place
        while not found[last].isascii() and last + 2 < len(found):
            # Blanks between two encoded words are not shown: those of the text belong to one.
            if found[last + 1].strip(b" \t") or found[last + 2].isascii():
                break
            last += 2
        words = b"".join(found[place : last + 1])
        if not words.isascii():
            # RFC 2045 §5.1: what is no token must be quoted.
            quote = b'"' if found[place - 1].endswith(b"=") else b""
            words = quote + _encoded_words(words) + quote
        pieces += [words, found[last + 1]]
        place = last + 2
    return b"".join(pieces)


def _encoded_words(words: bytes) -> bytes:
    charset = _charset(words)
    pieces, start = [], 0
    while start < len(words):
        end = min(start + _MAX_WORD, len(words))
        while charset == b"utf-8" and end < len(words) and words[end] & 0xC0 == 0x80:
            end -= 1  # within a character
        pieces.append(b"=?%s?b?%s?=" % (charset, base64.b64encode(words[start:end])))
        start = end
    return b" ".join(pieces)

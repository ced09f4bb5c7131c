"""Scripts and mails that rules are tried with, here and by Pigeonhole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

SCRIPTS: Final = Path(__file__).parent / "vectors" / "rules.sieve"

_HEADS: Final = (
    # A plain one.
    "From: Anna <anna@x.org>\nTo: bert@y.org\nSubject: Hello\n"
    "Date: Mon, 23 Nov 2026 10:11:12 +0100\n",
    # To a list, with a reply address.
    "Received: from a by b; Tue, 24 Nov 2026 01:02:03 -0500\nFrom: Bert <bert@y.org>\n"
    "To: dev@lists.x.org, Anna <anna+dev@x.org>\nCc: carl@z.org\nReply-To: bert@y.org\n"
    'List-Id: "Developers" <dev.lists.x.org>\nSubject: [dev] Weekly report *47*?\n'
    "Date: Tue, 24 Nov 2026 06:02:03 +0000\nX-Tag: one\nX-Tag: two\nX-Score: 12\n",
    # Encoded words.
    "From: =?utf-8?q?J=C3=B6?= <jo@x.org>\nTo: anna@x.org\n"
    "Subject: hello =?utf-8?q?w=C3=B6rld?=\nDate: Fri, 21 Nov 1997 09:55:06 -0600\nX-Score: 3\n",
    # A display name that looks like an address, a group, an empty field.
    'From: "boss@x.org" <stranger@evil.example>\nTo: Friends: anna@x.org, bert@y.org;\n'
    "Subject: invoice\nX-Empty:\nX-Score: none\n",
    # Exactly what some scripts look for.
    "From: anna@x.org\nTo: anna+detail+more@x.org\nSubject: Weekly report 47\nX-Tag: two\n"
    "Date: 1 Jan 2026 00:00:00 +0000\nX-Score: 012abc\n",
    # No subject, no recipients.
    "From: MAILER-DAEMON\nDate: Sun, 1 Mar 2026 23:59:59 +1200\n",
    # Folded fields.
    "From: Carl\n <carl@z.org>\nTo: anna@x.org,\n\tdev@lists.x.org\nSubject: a subject\n  that is\n"
    " folded: report\nDate: Wed, 01 Apr 2026 12:00:00 +0000\n",
    # A multipart.
    "From: dora@x.org\nTo: undisclosed-recipients:;\nSubject: with a picture\nMIME-Version: 1.0\n"
    "Content-Type: multipart/mixed; boundary=b\nDate: Thu, 02 Apr 2026 12:00:00 +0000\n",
    # A long one.
    "From: emil@x.org\nTo: anna@x.org\nSubject: report report report\nX-Tag: three\n"
    "Date: Fri, 03 Apr 2026 12:00:00 +0000\nX-Score: 9\n",
    # Many fields of one name, quoted local parts, comments.
    (
        'From: "emil e" (the one) <"emil e"@x.org>\nTo: a@x.org, b@x.org\nCc: c@y.org\nX-Tag: 1\n'
        "X-Tag: 2\nX-Tag: 3\nX-Tag: 4\nX-Tag: 5\nX-Tag: 6\nX-Tag: 7\n"
        "Subject: ***\nDate: Sat, 04 Apr 2026 12:00:00 +0000\nX-Score: 99999999999999999999\n"
    ),
    # Nothing that rules could hold on to.
    "X-Nothing: at all\n",
)
_BODIES: Final = {7: "--b\n\ntext\n--b\nContent-Type: image/png\n\npng\n--b--\n", 8: "line\n" * 400}


def _mail(number: int, head: str) -> bytes:
    """The mail; its type is always told, as a part has one of its own."""
    type_ = "" if "Content-Type" in head else "Content-Type: text/plain\n"
    return f"{head}{type_}\n{_BODIES.get(number, 'body')}\n".encode()


#: At least ten mails.
RULED: Final = tuple(_mail(number, head) for number, head in enumerate(_HEADS))


def rules() -> dict[str, str]:
    """Scripts by name; those that begin with `error: ` have one."""
    found = re.split(r"^#### (.*)\n", SCRIPTS.read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))

"""Mails for tests, written by us. The corpus of real ones stays outside the repository."""

from __future__ import annotations

import base64
from typing import Final

JPEG: Final = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")


def two_photos(text: str = "Two photos.\r\n", message_id: str = "photos@example.org") -> bytes:
    """A text and two different attachments that are both called `photo.jpg`."""
    photos = "".join(
        "--frontier\r\nContent-Type: image/jpeg\r\nContent-Transfer-Encoding: base64\r\n"
        f'Content-Disposition: attachment; filename="photo.jpg"\r\n\r\n{_lines(content)}'
        for content in (JPEG, JPEG * 30)
    )
    return (
        "From: =?utf-8?q?Lapin=2C_J=C3=B6?= <jo@example.org>\r\n"
        "To: jojolapin@machin.com\r\n"
        "Subject: =?utf-8?b?w4l0w6k=?= 2026\r\n"
        "Date: Sun, 22 Nov 2026 10:00:00 +0000\r\n"
        f"Message-ID: <{message_id}>\r\n"
        "MIME-Version: 1.0\r\n"
        'Content-Type: multipart/mixed; boundary="frontier"\r\n\r\n'
        "This is a message in MIME format.\r\n"
        f"--frontier\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}"
        f"\r\n{photos}--frontier--\r\n"
    ).encode()


def small(number: int, text: str = "hello") -> bytes:
    """A small mail."""
    return f"Message-ID: <{number}@example.org>\nSubject: mail {number}\n\n{text}\n".encode()


def _lines(content: bytes) -> str:
    encoded = base64.b64encode(content).decode()
    return "".join(f"{encoded[at : at + 76]}\r\n" for at in range(0, len(encoded), 76))

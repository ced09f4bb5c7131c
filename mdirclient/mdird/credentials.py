"""Tokens and passwords, and what of them is kept in a user's entry. Pure but for randomness.

Sources: RFC 7914 (scrypt); a password's field is like `$scrypt$ln=14,r=8,p=1$<salt>$<hash>`, in
base64 without padding.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from typing import Final

from mdirclient.header import Header

TOKEN_FIELD: Final = "token-hash"  # noqa: S105 - the name of a field
PASSWORD_FIELD: Final = "password-hash"  # noqa: S105
_LN, _R, _P = 14, 8, 1
#: What a hash that somebody wrote by hand may cost: bytes of memory.
_MAX_MEMORY: Final = 128 << 20
_MAX_SECRET: Final = 1024
_PASSWORD = re.compile(r"\$scrypt\$ln=([0-9]{1,2}),r=([0-9]{1,2}),p=([0-9]{1,2})\$([^$]+)\$([^$]+)")


def new_token() -> str:
    """256 random bits, in 43 characters that need no encoding in a url."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """What is kept of a token: it is random, so one SHA-256 is enough."""
    return "sha256:" + hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def hash_password(password: str) -> str:
    """What is kept of a password. Takes some 50 ms and 16 MiB."""
    salt = secrets.token_bytes(16)
    hashed = _scrypt(password, salt, _LN, _R, _P)
    return f"$scrypt$ln={_LN},r={_R},p={_P}${_base64(salt)}${_base64(hashed)}"


_NOBODY: Final = f"$scrypt$ln={_LN},r={_R},p={_P}${'A' * 22}${'A' * 43}"


def is_right(user: Header | None, secret: str) -> bool:
    """Whether a secret is a token or the password of a user.

    Takes as long where there is no such user, or one without a password.

    Args:
        user: the entry, or None: there is no such user.
        secret: what was given.
    """
    if len(secret) > _MAX_SECRET:
        return False
    given = hash_token(secret)
    tokens = user.get_all(TOKEN_FIELD) if user else ()
    if any(hmac.compare_digest(given.encode(), token.encode()) for token in tokens):
        return True
    passwords = (user.get_all(PASSWORD_FIELD) if user else ()) or (_NOBODY,)
    return any(_is_password(secret, kept) for kept in passwords)


def _is_password(password: str, kept: str) -> bool:
    match = _PASSWORD.fullmatch(kept)
    if not match:
        return False
    ln, r, p = int(match[1]), int(match[2]), int(match[3])
    try:
        salt, expected = (
            base64.b64decode(text + "=" * (-len(text) % 4)) for text in match.groups()[3:]
        )
        found = _scrypt(password, salt, ln, r, p, length=len(expected))
    except (ValueError, binascii.Error):
        return False  # somebody wrote it by hand
    return len(expected) >= 16 and hmac.compare_digest(found, expected)


def _scrypt(password: str, salt: bytes, ln: int, r: int, p: int, *, length: int = 32) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=1 << ln,
        r=r,
        p=p,
        maxmem=_MAX_MEMORY,
        dklen=max(1, min(length, 64)),
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")

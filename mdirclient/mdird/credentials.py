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
#: What a hash that somebody wrote by hand may cost.
_MAX_LN, _MAX_R, _MAX_P = 17, 8, 4
_MAX_MEMORY: Final = 160 << 20
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


def find_token(user: Header, secret: str) -> str | None:
    """The hash of a user's that a token has."""
    if len(secret) > _MAX_SECRET:
        return None
    given = hash_token(secret).encode()
    kept = user.get_all(TOKEN_FIELD)
    return next((one for one in kept if hmac.compare_digest(given, one.encode())), None)


def find_password(user: Header | None, secret: str) -> str | None:
    """The hash of a user's that a password has.

    Takes as long where there is no such user, or one without a password.

    Args:
        user: the entry, or None: there is no such user.
        secret: what was given.
    """
    if len(secret) > _MAX_SECRET:
        return None
    kept = (user.get_all(PASSWORD_FIELD) if user else ()) or (_NOBODY,)
    return next((one for one in kept if _is_password(secret, one)), None)


def _is_password(password: str, kept: str) -> bool:
    match = _PASSWORD.fullmatch(kept)
    if not match:
        return False
    ln, r, p = int(match[1]), int(match[2]), int(match[3])
    if not (0 < ln <= _MAX_LN and 0 < r <= _MAX_R and 0 < p <= _MAX_P):
        return False
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

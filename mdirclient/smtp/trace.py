"""What the receiver adds to a mail: `received`, as a field beside it. Pure.

Source: RFC 5321 §4.4; the protocol's names are of RFC 3848.
"""

from __future__ import annotations


def received(
    *, client: str | None, host: str, protocol: str, recipient: str | None, date: str
) -> str:
    """The value of `received`.

    Args:
        client: what stands after `from`, such as `mail.x.org ([192.0.2.1])`; None: not known.
        host: this one.
        protocol: such as `ESMTPS`.
        recipient: this one only; None: not known.
        date: as in RFC 5322 §3.3.
    """
    words = [f"from {client}"] if client else []
    words += [f"by {host} with {protocol}"]
    words += [f"for <{recipient}>"] if recipient else []
    return f"{' '.join(words)}; {date}"


def protocol_name(
    *, is_lmtp: bool, is_extended: bool, is_utf8: bool, is_secured: bool, has_user: bool
) -> str:
    """The name of a protocol with its extensions (RFC 3848, RFC 6531 §4.3)."""
    if not is_extended:
        return "SMTP"
    base = ("UTF8" if is_utf8 else "") + ("LMTP" if is_lmtp else "SMTP")
    extended = base if is_utf8 or is_lmtp else f"E{base}"
    return extended + ("S" if is_secured else "") + ("A" if has_user else "")

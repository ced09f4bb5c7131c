"""Keys that mails are signed with: files, one for each key, and their records of DNS.

Reads and writes the directory of keys: `<domain>/<selector>.pem`, PKCS#8 without a password,
readable by its owner only.

Sources: RFC 6376 §3.6.1 (records), RFC 8301 (RSA of 2,048 bits), RFC 8463 (Ed25519).
"""

from __future__ import annotations

import base64
import os
import re
from datetime import date
from typing import Final

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from mdirclient import _fs
from mdirclient.errors import StoreError

_SUFFIX: Final = ".pem"
_BITS: Final = 2048
_MIN_BITS: Final = 1024
_MAX_FILE: Final = 1 << 16
#: Keys of a domain: each is a signature of every mail.
_MAX_KEYS: Final = 8
#: One label of a name in DNS (RFC 1035 §2.3.1), and of a record one text (§3.3).
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_MAX_TEXT: Final = 255


@attrs.frozen
class Key:
    """A key of a domain.

    Attributes:
        domain: in ASCII, lower-case.
        selector: its name below `_domainkey.<domain>`.
        private: of RSA in PEM, of Ed25519 the raw bytes.
        public: as a record has it: of RSA in DER, of Ed25519 the raw bytes.
    """

    domain: str
    selector: str
    private: bytes = attrs.field(repr=False)
    public: bytes = attrs.field(repr=False)

    @property
    def kind(self) -> str:
        """`rsa` or `ed25519`, as a record says it."""
        return "rsa" if self.private.startswith(b"-") else "ed25519"

    @property
    def name(self) -> str:
        """The name of its record, without a final dot."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def record(self) -> str:
        """Its TXT record, whole."""
        return f"v=DKIM1; k={self.kind}; p={base64.b64encode(self.public).decode()}"

    @property
    def zone_line(self) -> str:
        """Its record as a zone file has it (RFC 1035 §5.1)."""
        record = self.record
        texts = [record[place : place + _MAX_TEXT] for place in range(0, len(record), _MAX_TEXT)]
        shown = " ".join(f'"{text}"' for text in texts)
        return f"{self.name}. IN TXT ({shown})"


def find_keys(directory: str, domain: str) -> tuple[Key, ...]:
    """The keys of a domain, by selector; none if it has none, the last 8 if there are more.

    Raises:
        StoreError: a file is no key.
        OSError: it cannot be read.
    """
    if not is_domain(domain):
        return ()
    place = os.path.join(directory, domain)
    try:
        names = sorted(name for name in os.listdir(place) if name.endswith(_SUFFIX))
    except FileNotFoundError:
        return ()
    return tuple(_read(os.path.join(place, name), domain) for name in names[-_MAX_KEYS:])


def make_keys(directory: str, domain: str, selector: str) -> tuple[Key, ...]:
    """Make a key of RSA and one of Ed25519 for a domain; durable on return.

    Args:
        directory: of all keys; made if it is missing.
        domain: in ASCII, lower-case.
        selector: of both, which are told apart by `-rsa` and `-ed25519`.

    Raises:
        StoreError: there are such keys already, or too many.
        OSError: they cannot be written.
    """
    place = os.path.join(directory, domain)
    _fs.make_directories(place, mode=0o700)
    private: dict[str, RSAPrivateKey | Ed25519PrivateKey] = {
        "rsa": generate_private_key(65537, _BITS),
        "ed25519": Ed25519PrivateKey.generate(),
    }
    if len(find_keys(directory, domain)) + len(private) > _MAX_KEYS:
        raise StoreError(f"{place}: more than {_MAX_KEYS} keys; remove those that are old")
    made = []
    for kind, key in private.items():
        path = os.path.join(place, f"{selector}-{kind}{_SUFFIX}")
        try:
            data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            _fs.create(path, data, mode=0o600)
        except FileExistsError:
            raise StoreError(f"{path} is there already; choose another selector") from None
        made.append(_read(path, domain))
    return tuple(made)


def default_selector(today: date) -> str:
    """A selector that tells how old its keys are."""
    return f"mdir{today:%Y%m%d}"


def is_selector(text: str) -> bool:
    """Whether a text can be a selector of ours."""
    return len(text) <= 50 and bool(_LABEL.fullmatch(text))


def is_domain(text: str) -> bool:
    """Whether a text is a domain in ASCII, lower-case: so it is a name of a directory too."""
    labels = text.split(".")
    return len(text) <= 253 and all(map(_LABEL.fullmatch, labels))


def _read(path: str, domain: str) -> Key:
    data, _ = _fs.read_file(path, _MAX_FILE)
    selector = os.path.basename(path).removesuffix(_SUFFIX)
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError) as error:
        raise StoreError(f"{path} is no key in PEM without a password: {error}") from error
    if isinstance(key, Ed25519PrivateKey):
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return Key(domain, selector, key.private_bytes_raw(), public)
    if isinstance(key, RSAPrivateKey) and key.key_size >= _MIN_BITS:
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Key(domain, selector, pem, public)
    raise StoreError(f"{path}: expected a key of RSA (2,048 bits) or Ed25519")

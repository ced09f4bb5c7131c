"""Settings: the places agreed on in the environment. Reads the environment and TOML files.

The order is option, environment, the user's file, the system's file, default. MTAs strip
the environment, so one file given by `--config` can replace both files.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from typing import Final

import attrs

from mdirclient.errors import FolderPathError, SettingsError

APPLICATION: Final = "mdir"
FILE: Final = "config.toml"


@attrs.frozen
class Setting:
    """One setting: its environment variable (and key in the file), default and meaning."""

    name: str
    default: str | None
    meaning: str


SETTINGS: Final = (
    Setting("MDIRD", None, "the mdird to connect to; default: `file://` + user data directory"),
    Setting(
        "MDIRD_LISTEN",
        None,
        "where `mdird serve` listens: `unix:/path`, `tcp://host:port`, by commas; default: a"
        " socket in the user's runtime directory",
    ),
    Setting(
        "MDIR_STORE",
        None,
        "the mstore: `file:///dir` or `https://host/path/`; default: that of the mdird",
    ),
    Setting("MDIR_BASES", None, "further `base=place` pairs to fetch from, by commas"),
    Setting("MDIR_USERS", "Users", "folder with one entry `type: user` for each user"),
    Setting("MDIR_SMTP_ACCOUNTS", "SMTP/Accounts", "one folder for each mail address served"),
    Setting("MDIR_SMTP_OUTBOX", "SMTP/Outbox", "a folder for each address: what is to be sent"),
    Setting("MDIR_SMTP_SPAM", "SMTP/Spam", "a folder for each address: what its user calls spam"),
    Setting(
        "MDIR_SMTP_TRASH",
        "Trash,Deleted Items,Deleted Messages",
        "names of folders, by commas, into which users throw mails: what goes there from the spam"
        " box stays spam",
    ),
    Setting("MDIR_SMTP_STATISTICS", "SMTP/Statistics", "where statistics are published"),
    Setting(
        "MDIR_SMTP_STATISTICS_PRIVACY",
        "full",
        "what statistics show of addresses and networks: `full`, `truncated` or `hashed`",
    ),
    Setting(
        "MDIR_SMTP_ASN_DB",
        None,
        "a database in MaxMind's format that tells the owner (ASN) of an address; default: the"
        " network is shown",
    ),
    Setting(
        "MDIR_SMTP_DELAYED",
        "SMTP/Delayed",
        "a folder for each address: senders that greylisting told to come again",
    ),
    Setting("MDIR_SMTP_GREYLIST", "on", "`off` turns greylisting off"),
    Setting(
        "MDIR_SMTP_DNS",
        None,
        "the DNS server that is asked for SPF, `address` or `address:port`; default: the system's",
    ),
    Setting(
        "MDIR_SMTP_LISTEN",
        "smtp://127.0.0.1:2525",
        "where `mdir-smtp serve` listens: `smtp://`, `submission://`, `submissions://`, `lmtp://`"
        " addresses, by commas; `unix:/path` is LMTP on a socket",
    ),
    Setting("MDIR_SMTP_HOSTNAME", None, "name of this host in `received`; default: the system's"),
    Setting("MDIR_SMTP_TLS_CERT", None, "certificate of the SMTP server with its chain, in PEM"),
    Setting("MDIR_SMTP_TLS_KEY", None, "its private key; default: in the same file"),
    Setting(
        "MDIR_SMTP_CLIENT_CA",
        None,
        "certificates, in PEM, that those of users must lead to; needed for AUTH EXTERNAL",
    ),
    Setting(
        "MDIR_SMTP_STATE",
        None,
        "the SMTP server's own database; default: `smtp.sqlite3` in the user's data directory",
    ),
    Setting(
        "MDIR_SMTP_POSTMASTER",
        None,
        "address of the account for postmaster and abuse; default: the oldest account",
    ),
    Setting(
        "MDIR_SMTP_SEPARATOR",
        "+",
        "characters that end the name of an account in an address, such as `+-`: what follows is"
        " its own (RFC 5233)",
    ),
    Setting(
        "MDIR_SMTP_SOCKET",
        None,
        "path of the socket where `mdir-smtp lmtp` listens, and `deliver` hands over; default for"
        " `lmtp`: one in the user's runtime directory",
    ),
    Setting(
        "MDIR_SMTP_SENDMAIL",
        None,
        "the program that `mdir-smtp outbox` hands mails to, with its own words before those that"
        " are added; quotes as in a shell, which is never used; default: `/usr/sbin/sendmail`",
    ),
    Setting(
        "MDIR_SMTP_RELAY",
        None,
        "the smarthost that mails of the outbox are sent to, in the place of a sendmail program:"
        " `smtps://user:password@host` (port 465), or `smtp://…` (587) with STARTTLS; `?tls=no`"
        " allows a connection without TLS",
    ),
    Setting(
        "MDIR_SMTP_DKIM",
        None,
        "directory with the keys that mails to the smarthost are signed with; default: `smtp-dkim`"
        " beside the SMTP server's own database",
    ),
    Setting(
        "MDIR_SMTP_AUTHSERV",
        None,
        "authserv-ids, by commas, whose Authentication-Results in a mail are believed",
    ),
)
_BY_NAME: Final = {setting.name: setting for setting in SETTINGS}


class Settings:
    """The settings of one run. Files are read when a value is first looked for in them.

    Args:
        environ: the environment.
        config: a TOML file in the place of the user's and the system's.
    """

    def __init__(self, environ: Mapping[str, str], config: str | None = None) -> None:
        self._environ = environ
        self._config = config
        self._files: list[dict[str, str]] | None = None

    def find(self, name: str) -> str | None:
        """The value of a setting, its default, or None. An empty variable counts as not set.

        Raises:
            SettingsError: a file cannot be used.
        """
        setting = _BY_NAME[name]
        if value := self._environ.get(name):
            return value
        if self._files is None:
            self._files = self._read_files()
        for values in self._files:
            if value := values.get(name):
                return value
        return setting.default

    def get(self, name: str) -> str:
        """The value of a setting that has a default."""
        value = self.find(name)
        if value is None:
            raise SettingsError(name, "settings", "it is not set and has no default")
        return value

    def folder(self, name: str) -> str:
        """The path of a folder of the mdir that has a default, without `/` at its ends.

        Raises:
            SettingsError: no folder can have it, or it is the root.
        """
        from mdirclient.naming import split_path  # what a hand-over does not need

        given = self.get(name)
        try:
            names = split_path(given)
        except FolderPathError as error:
            raise SettingsError(name, given, error.reason) from None
        if not names:
            raise SettingsError(name, given, "it cannot be the root of the mdir")
        return "/".join(names)

    def mdird(self) -> str:
        """The url of the mdird."""
        return self.find("MDIRD") or file_url(_user_data_directory())

    def listen(self) -> str:
        """Where `mdird serve` listens."""
        return self.find("MDIRD_LISTEN") or f"unix:{_user_runtime_directory()}/mdird.socket"

    def smtp_state(self) -> str:
        """Path of the SMTP server's own database."""
        return self.find("MDIR_SMTP_STATE") or os.path.join(_user_data_directory(), "smtp.sqlite3")

    def smtp_outbox(self) -> str:
        """Path of the directory that the sender of the outbox has to itself."""
        return self._beside_state("smtp-outbox")

    def smtp_dkim(self) -> str:
        """Path of the directory with the keys that mails are signed with."""
        return self.find("MDIR_SMTP_DKIM") or self._beside_state("smtp-dkim")

    def _beside_state(self, name: str) -> str:
        return os.path.join(os.path.dirname(os.path.abspath(self.smtp_state())), name)

    def smtp_socket(self) -> str:
        """Path of the socket where `mdir-smtp lmtp` listens."""
        given = self.find("MDIR_SMTP_SOCKET")
        path = given.removeprefix("unix:") if given else f"{_user_runtime_directory()}/mdir-lmtp"
        if not path.startswith("/"):
            raise SettingsError("MDIR_SMTP_SOCKET", path, "a socket's path begins with /")
        return path

    def _read_files(self) -> list[dict[str, str]]:
        if self._config is not None:
            return [_read_file(self._config)]
        found = []
        for path in _config_files():
            # One that is there and cannot be read says something that we do not know.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found.append(_read_file(path, is_needed=False))
        return found


def file_url(path: str) -> str:
    """The `file:` url of a path. Source: RFC 8089."""
    quoted = os.fsencode(os.path.abspath(path))
    return "file://" + "".join(chr(b) if chr(b) in _PLAIN else f"%{b:02X}" for b in quoted)


def file_path(url: str, name: str) -> str:
    """The path of a `file:///path` url.

    Raises:
        SettingsError: another url. `name` is that of the setting.
    """
    if not url.startswith("file:///"):
        raise SettingsError(name, url, "expected file:///path")
    quoted = url.removeprefix("file://")
    if _BROKEN_PERCENT.search(quoted):
        raise SettingsError(name, url, "a % is not followed by two hexadecimal digits, or by 00")
    head, *rest = os.fsencode(quoted).split(b"%")
    path = os.fsdecode(head + b"".join(bytes([int(p[:2], 16)]) + p[2:] for p in rest))
    # Two slashes at the front may mean something else to a system than one (POSIX).
    return "/" + path.lstrip("/")


_BROKEN_PERCENT: Final = re.compile("%(?:00|(?![0-9A-Fa-f]{2}))|\\x00")
_PLAIN: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/@+,=:"


def _config_files() -> list[str]:
    import platformdirs  # only where the environment does not say it all

    return [
        os.path.join(platformdirs.user_config_dir(APPLICATION), FILE),
        os.path.join(platformdirs.site_config_dir(APPLICATION), FILE),
    ]


def _user_data_directory() -> str:
    import platformdirs  # only where the environment does not say it all

    return platformdirs.user_data_dir(APPLICATION)


def _user_runtime_directory() -> str:
    import platformdirs  # only where the environment does not say it all

    return platformdirs.user_runtime_dir(APPLICATION)


def _read_file(path: str, *, is_needed: bool = True) -> dict[str, str]:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        if not is_needed:
            raise
        raise SettingsError("settings", path, "there is no such file") from error
    except OSError as error:
        raise SettingsError("settings", path, f"cannot be read: {error.strerror}") from error
    import tomllib  # only where there is a file

    try:
        values = tomllib.loads(data.decode())
    except ValueError as error:  # of UTF-8 or of TOML
        raise SettingsError("settings", path, f"is not TOML: {error}") from error
    for name, value in values.items():
        if name not in _BY_NAME:
            raise SettingsError(
                name, path, "there is no such setting; see the reference of settings"
            )
        if not isinstance(value, str):
            raise SettingsError(name, path, 'the value must be a text: NAME = "value"')
    return values

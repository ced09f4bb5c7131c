"""Settings: option, environment, user's file, system's file, default."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from mdirclient import connect, open_store
from mdirclient.errors import SettingsError, StoreError, TransportError
from mdirclient.settings import Settings, file_path, file_url
from mdirclient.smtp.accounts import Places


def user_file(tmp_path: Path, text: str) -> None:
    """The user's configuration file."""
    path = tmp_path / "home" / ".config" / "mdir" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_defaults() -> None:
    """Nothing has to be set."""
    settings = Settings({})
    assert "SMTP/Accounts" == settings.get("MDIR_SMTP_ACCOUNTS")
    assert settings.find("MDIR_STORE") is None
    assert settings.mdird().endswith("/home/.local/share/mdir")


def test_the_environment_goes_before_the_files(tmp_path: Path) -> None:
    """And the user's file before the default; an empty variable counts as not set."""
    user_file(tmp_path, 'MDIR_USERS = "People"\nMDIR_SMTP_SPAM = "Spam"\n')
    settings = Settings({"MDIR_USERS": "U", "MDIR_SMTP_SPAM": ""})
    assert ("U", "Spam") == (settings.get("MDIR_USERS"), settings.get("MDIR_SMTP_SPAM"))


def test_the_users_file_goes_before_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are read."""
    system = tmp_path / "etc" / "mdir" / "config.toml"
    system.parent.mkdir(parents=True)
    system.write_text('MDIR_USERS = "S"\nMDIR_SMTP_SPAM = "S"\n')
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "etc"))
    user_file(tmp_path, 'MDIR_USERS = "U"\n')
    settings = Settings({})
    assert ("U", "S") == (settings.get("MDIR_USERS"), settings.get("MDIR_SMTP_SPAM"))


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """It may say something that we do not know; only one that is not there says nothing."""
    path = tmp_path / "home" / ".config" / "mdir" / "config.toml"
    path.mkdir(parents=True)
    with pytest.raises(SettingsError, match="cannot be read"):
        Settings({}).get("MDIR_USERS")
    path.rmdir()
    path.write_text('MDIR_USERS = ""\n')
    assert "Users" == Settings({}).get("MDIR_USERS")


def test_config_replaces_both_files(tmp_path: Path) -> None:
    """And must exist."""
    user_file(tmp_path, 'MDIR_USERS = "U"\n')
    config = tmp_path / "c.toml"
    config.write_text('MDIR_SMTP_SPAM = "C"\n')
    settings = Settings({}, str(config))
    assert ("Users", "C") == (settings.get("MDIR_USERS"), settings.get("MDIR_SMTP_SPAM"))
    with pytest.raises(SettingsError, match=r"none\.toml"):
        Settings({}, str(tmp_path / "none.toml")).get("MDIR_USERS")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("/", "cannot be the root"),
        ("Spam//Mail", "1 to 255 characters"),
        ("../Spam", "not allowed"),
        ("Spam\n", "not allowed"),
        ("a/" * 1000, "levels"),
    ],
)
def test_a_path_that_no_folder_can_have(given: str, says: str) -> None:
    """It is said with the name of the setting, before anything is done."""
    with pytest.raises(SettingsError, match=f"(?s)MDIR_SMTP_SPAM .*{says}"):
        Settings({"MDIR_SMTP_SPAM": given}).folder("MDIR_SMTP_SPAM")


def test_a_path_has_no_slashes_at_its_ends() -> None:
    """As people write them."""
    assert "Junk/Mail" == Settings({"MDIR_SMTP_SPAM": "/Junk/Mail/"}).folder("MDIR_SMTP_SPAM")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("MDIR_SMTP_SPAM", "SMTP/Accounts/"),
        ("MDIR_SMTP_OUTBOX", "SMTP/Accounts"),
        ("MDIR_SMTP_ACCOUNTS", "SMTP/Spam/al@x.test/Accounts"),
        ("MDIR_SMTP_STATISTICS", "/SMTP/Outbox/al@x.test"),
    ],
)
def test_no_folder_is_agreed_on_for_two_things(name: str, path: str) -> None:
    """A spam box that is also where mails come would be emptied; an outbox would send them."""
    with pytest.raises(SettingsError, match="MDIR_"):
        Places.from_settings(Settings({name: path}))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("MDIR_SMTP_STATISTICS", "SMTP/Accounts/al@x.test"),
        ("MDIR_SMTP_STATISTICS", "SMTP/Spam/Statistics"),
        ("MDIR_SMTP_SPAM", "SMTP"),
        ("MDIR_SMTP_ACCOUNTS", "Users"),
    ],
)
def test_folders_that_are_in_nobodys_way(name: str, path: str) -> None:
    """Those of addresses have an @ in their names; others may be beside them."""
    assert path in attrs.astuple(Places.from_settings(Settings({name: path})))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('MDIR_USER = "x"', "there is no such setting"),
        ("MDIR_USERS = 1", "must be a text"),
        ("MDIR_USERS", "is not TOML"),
        ("\xff", "is not TOML"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    """And which file it is."""
    config = tmp_path / "c.toml"
    config.write_text(text, encoding="latin-1")
    with pytest.raises(SettingsError) as caught:
        Settings({}, str(config)).get("MDIR_SMTP_SPAM")
    assert says in str(caught.value)
    assert str(config) in str(caught.value)


@pytest.mark.parametrize("path", ["/a/b", "/a b/ü%?#", "/\udcff"])
def test_file_urls(path: str) -> None:
    """Any path, there and back."""
    assert path == file_path(file_url(path), "MDIRD")


@pytest.mark.parametrize(
    "url",
    [
        "file://host/x",
        "file:x",
        "https://x/",
        "file:///a%",
        "file:///%zz",
        "file:///%f",
        "file:///a%00",
        "/a",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    """They name the setting."""
    with pytest.raises(SettingsError, match="MDIRD"):
        file_path(url, "MDIRD")


def test_connect_without_anything(tmp_path: Path) -> None:
    """The user's data directory: no daemon, no set-up; its store is where open_store looks."""
    with connect() as mdird:
        message = mdird.store.add(b"Subject: x\n\ny")
    assert message.anchor in open_store(create=False)
    assert (tmp_path / "home" / ".local" / "share" / "mdir" / "store" / "mstore").is_file()


def test_connect_does_not_make_what_it_must_not(tmp_path: Path) -> None:
    """`create=False`."""
    url = file_url(str(tmp_path / "mdir"))
    with pytest.raises(StoreError):
        connect(url, create=False)
    open_store(f"{url}/store")
    with pytest.raises(TransportError, match=r"mdird\.sqlite3 is missing"):
        connect(url, create=False)


def test_a_store_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`$MDIR_STORE`."""
    monkeypatch.setenv("MDIR_STORE", file_url(str(tmp_path / "elsewhere")))
    with connect(file_url(str(tmp_path / "mdir"))) as mdird:
        anchor = mdird.store.add(b"x").anchor
    assert anchor in open_store()
    assert (tmp_path / "elsewhere" / "mstore").exists()
    assert not (tmp_path / "mdir" / "store").exists()


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It points to `mdird serve`."""
    monkeypatch.setattr("mdirclient._fs.probe.filesystem_type", lambda _: "nfs4")
    with pytest.raises(TransportError, match="mdird serve"):
        connect(file_url(str(tmp_path / "mdir")))

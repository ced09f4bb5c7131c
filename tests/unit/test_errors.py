"""The tree of errors."""

from __future__ import annotations

import inspect
import pickle

import pytest

from mdirclient import errors

CLASSES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.MdirError)
]


def _arguments(kind: type[errors.MdirError]) -> list[object]:
    values: dict[str, object] = {"int": 404, "float": 1.5, "bytes": b"12abc"}
    return [
        values.get(str(field.type).split(" ")[0], f"the {field.name}")
        for field in getattr(kind, "__attrs_attrs__", ())
    ]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_pickles_and_says_its_data(kind: type[errors.MdirError]) -> None:
    """Data as attributes, one line of text, the same after pickling."""
    error = kind(*_arguments(kind))
    again = pickle.loads(pickle.dumps(error))
    assert type(error) is type(again)
    assert str(error) == str(again)
    assert "\n" not in str(error)
    assert vars(error) == vars(again)


@pytest.mark.parametrize("kind", CLASSES)
def test_the_docstring_draws_every_error(kind: type[errors.MdirError]) -> None:
    """The tree in the module's docstring is whole."""
    assert errors.__doc__ is not None
    assert kind.__name__ in errors.__doc__.split()


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (errors.HeaderError, ValueError),
        (errors.UnknownURLError, KeyError),
        (errors.FolderNotFoundError, FileNotFoundError),
        (errors.LockTimeoutError, TimeoutError),
        (errors.TransportError, ConnectionError),
        (errors.NotFoundReplyError, LookupError),
        (errors.SettingsError, ValueError),
    ],
)
def test_errors_are_what_a_caller_catches(kind: type, base: type) -> None:
    """Each derives from the stdlib's error too."""
    assert issubclass(kind, base)


def test_strangers_text_is_escaped_and_short() -> None:
    """Nothing that a sender writes reaches a terminal raw."""
    text = str(errors.PartURLError("\x1b[2J" + "x" * 9999, "reason"))
    assert "\x1b" not in text
    assert len(text) < 200


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, errors.NotFoundReplyError),
        (409, errors.ConflictReplyError),
        (400, errors.PermanentReplyError),
        (503, errors.TemporaryReplyError),
    ],
)
def test_reply_error(status: int, kind: type) -> None:
    """A status has its class."""
    assert kind is type(errors.reply_error(status, "text"))

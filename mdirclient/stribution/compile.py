"""Sieve to a script that can be run: all that can be wrong with it is found here. Pure.

Sources: RFC 5228 §3 to §5, RFC 5229 §4 and §5, RFC 5260 §4 and §5, RFC 5490 §3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from mdirclient.errors import FolderPathError, ScriptError
from mdirclient.naming import split_path
from mdirclient.stribution.addresses import Address
from mdirclient.stribution.dates import DATE_PARTS, date_part, in_zone, parse_date, parse_zone
from mdirclient.stribution.grammar import Node, parse
from mdirclient.stribution.keys import Match, match_of
from mdirclient.stribution.script import HERE, Run, Script, Step
from mdirclient.stribution.variables import MAX_VALUE, MODIFIERS, Text, text_of, variable_name
from mdirclient.stribution.words import CAPABILITIES, COMMANDS, Call, call_of

#: RFC 5228 §5.1: fields that hold addresses.
_ADDRESS_FIELDS: Final = frozenset(
    "from to cc bcc sender reply-to resent-from resent-to resent-cc resent-bcc resent-sender "
    "resent-reply-to delivered-to x-original-to errors-to mail-followup-to return-path "
    "mail-reply-to apparently-to abuse-reports-to x-complaints-to x-beenthere".split()
)
#: What it costs to hold a value, and to look for a folder or a date, in characters.
_VALUE: Final = 16
_LOOK_UP: Final = 200
_ENVELOPE: Final = {"from": "envelope-from", "to": "envelope-to"}

Test = Callable[[Run], bool]


def compile_script(script: bytes) -> Script:
    """Read rules: UTF-8, any line ends, at most 1 MiB.

    Raises:
        ScriptError: names the line, and what is wrong.
    """
    return _Compiler().script(parse(script))


class _Compiler:
    def __init__(self) -> None:
        self._required: frozenset[str] = frozenset()

    def script(self, nodes: Sequence[Node]) -> Script:
        place = 0
        while place < len(nodes) and nodes[place].name == "require":
            self._require(nodes[place])
            place += 1
        return Script(self._block(nodes[place:]))

    def _require(self, node: Node) -> None:
        (names,) = call_of(node, self._required, is_test=False).values
        for name in names:
            if name not in CAPABILITIES:
                known = ", ".join(sorted(CAPABILITIES))
                raise ScriptError(f"require: {name[:40]!a} is not supported: {known}", node.line)
        self._required |= set(names)

    # -- commands

    def _block(self, nodes: Sequence[Node]) -> tuple[Step, ...]:
        steps: list[Step] = []
        place = 0
        while place < len(nodes):
            chain = [nodes[place]]
            place += 1
            if chain[0].name == "if":
                while place < len(nodes) and nodes[place].name in ("elsif", "else"):
                    chain.append(nodes[place])
                    place += 1
                    if chain[-1].name == "else":
                        break
                steps.append(self._choice(chain))
            else:
                steps.append(self._command(chain[0]))
        return tuple(steps)

    def _choice(self, chain: Sequence[Node]) -> Step:
        branches: list[tuple[Test, tuple[Step, ...], str]] = []
        for node in chain:
            call_of(node, self._required, is_test=False)
            test = self._test(node.tests[0]) if node.tests else _true
            because = f"line {node.line}: {node.source}"
            branches.append((test, self._block(node.block or ()), because))
        return partial(_choose, tuple(branches))

    def _command(self, node: Node) -> Step:
        if node.name in ("elsif", "else"):
            raise ScriptError(f"{node.name} must follow an if", node.line)
        if node.name == "require":
            raise ScriptError("require must stand at the beginning of the script", node.line)
        call = call_of(node, self._required, is_test=False)
        assert node.name in COMMANDS
        if node.name == "fileinto":
            return self._fileinto(call)
        if node.name == "set":
            return self._set(call)
        if node.name == "keep":
            return lambda run: _keep(run, node)
        return _discard if node.name == "discard" else _stop

    def _fileinto(self, call: Call) -> Step:
        text = self._text(call, call.values[0][0])
        # What a variable is replaced with cannot make a name unusable.
        stand_in = "".join(
            "x" if is_variable else piece for piece, is_variable in text.expanded({})
        )
        try:
            if not split_path(stand_in):
                raise call.fail("it needs the name of a folder")
        except FolderPathError as error:
            raise call.fail(f"{stand_in[:80]!a} cannot name a folder: {error.reason}") from error
        is_copy = "copy" in call.tags
        node = call.node

        def step(run: Run) -> bool:
            run.act(run.target(text), node.line, node.source, is_copy=is_copy)
            return True

        return step

    def _set(self, call: Call) -> Step:
        (name,), (string,) = call.values
        if name.isdecimal():
            raise call.fail("what :matches found cannot be set")
        variable = variable_name(name, call.node.line)
        text = self._text(call, string)
        chosen = sorted((MODIFIERS[tag] for tag, _ in call.tags.values()), reverse=True, key=_order)

        def step(run: Run) -> bool:
            value = run.expand(text)
            for _, modify in chosen:
                value = modify(value)
            run.values[variable] = value[:MAX_VALUE]
            return True

        return step

    # -- tests

    def _test(self, node: Node) -> Test:
        call = call_of(node, self._required, is_test=True)
        build: dict[str, Callable[[Call], Test]] = {
            "true": lambda _: _true,
            "false": lambda _: lambda _: False,
            "not": self._not,
            "allof": self._allof,
            "anyof": self._anyof,
            "exists": self._exists,
            "size": self._size,
            "header": self._header,
            "address": self._address,
            "envelope": self._envelope,
            "string": self._string,
            "date": self._date,
            "currentdate": self._date,
            "mailboxexists": self._mailboxexists,
        }
        return build[node.name](call)

    def _not(self, call: Call) -> Test:
        test = self._test(call.node.tests[0])
        return lambda run: not test(run)

    def _allof(self, call: Call) -> Test:
        tests = tuple(map(self._test, call.node.tests))
        return lambda run: all(test(run) for test in tests)

    def _anyof(self, call: Call) -> Test:
        tests = tuple(map(self._test, call.node.tests))
        return lambda run: any(test(run) for test in tests)

    def _exists(self, call: Call) -> Test:
        names = self._texts(call, call.values[0])
        return lambda run: all(run.item.values(run.expand(name).lower()) for name in names)

    def _mailboxexists(self, call: Call) -> Test:
        names = self._texts(call, call.values[0])

        def test(run: Run) -> bool:
            for name in names:
                target = run.target(name)
                run.spend(_LOOK_UP * len(target.names))
                if not run.exists(target):
                    return False
            return True

        return test

    def _size(self, call: Call) -> Test:
        if "limit" not in call.tags:
            raise call.fail("it needs :over or :under")
        name, limit = call.tags["limit"]
        assert isinstance(limit, int)
        if name == "over":
            return lambda run: run.item.size > limit
        return lambda run: run.item.size < limit

    def _header(self, call: Call) -> Test:
        names = self._texts(call, call.values[0])
        match = self._match(call, call.values[1])
        return lambda run: match(run, _values(run, names))

    def _address(self, call: Call) -> Test:
        return self._addresses(call, call.values[0], _ADDRESS_FIELDS, _addresses)

    def _envelope(self, call: Call) -> Test:
        return self._addresses(call, call.values[0], frozenset(_ENVELOPE), _paths)

    def _addresses(
        self,
        call: Call,
        given: Sequence[str],
        known: frozenset[str],
        addresses: Callable[[Run, str], Iterable[Address]],
    ) -> Test:
        names = self._texts(call, given)
        for name in names:
            if name.fixed is not None and name.fixed.lower() not in known:
                raise call.fail(f"{name.fixed[:40]!a} is none of {', '.join(sorted(known))}")
        match = self._match(call, call.values[1])
        part = call.tag("part", "all")
        is_counted = call.tag("match") == "count"

        def test(run: Run) -> bool:
            found = [
                address for name in names for address in addresses(run, run.expand(name).lower())
            ]
            parts = [address.part("all" if is_counted else part) for address in found]
            return match(run, [text for text in parts if text is not None])

        return test

    def _string(self, call: Call) -> Test:
        texts = tuple(self._text(call, string) for string in call.values[0])
        match = self._match(call, call.values[1])
        is_counted = call.tag("match") == "count"

        def test(run: Run) -> bool:
            values = [run.expand(text) for text in texts]
            # RFC 5229 §5: empty ones do not count.
            return match(run, [value for value in values if value] if is_counted else values)

        return test

    def _date(self, call: Call) -> Test:
        name, zone = call.tags.get("zone", ("", None))
        is_now = call.node.name == "currentdate"
        if is_now and name == "originalzone":
            raise call.fail(":originalzone is of a date in a field")
        wanted = parse_zone(str(zone)) if zone is not None else None
        if zone is not None and not wanted:
            raise call.fail(f"{str(zone)[:40]!a} is no zone like +0100")
        *fields, (part,), keys = call.values
        if part.lower() not in DATE_PARTS:
            raise call.fail(f"{part[:40]!a} is none of {', '.join(sorted(DATE_PARTS))}")
        names = self._texts(call, fields[0]) if fields else ()
        match = self._match(call, keys)

        def test(run: Run) -> bool:
            # Of several fields of a name the first one counts: of `received` that is the last.
            values = [] if is_now else _values(run, names)[:1]
            run.spend(_LOOK_UP * len(values))
            found = [run.now] if is_now else map(parse_date, values)
            moments = [
                moment if name == "originalzone" else in_zone(moment, wanted)
                for moment in found
                if moment is not None
            ]
            return match(run, [date_part(m, part.lower()) for m in moments if m is not None])

        return test

    # -- what they compare

    def _text(self, call: Call, string: str) -> Text:
        return text_of(
            string,
            call.node.line,
            has_variables="variables" in self._required,
            has_encoded="encoded-character" in self._required,
        )

    def _texts(self, call: Call, strings: Iterable[str]) -> tuple[Text, ...]:
        return tuple(self._text(call, string) for string in dict.fromkeys(strings))

    def _match(self, call: Call, strings: Sequence[str]) -> Match:
        comparator = call.tags.get("comparator", ("", None))[1]
        kind, relation = call.tags.get("match", ("is", None))
        return match_of(
            self._texts(call, strings),
            kind,
            comparator=str(comparator or "i;ascii-casemap"),
            relation=str(relation),
            sets_variables="variables" in self._required,
        )


def _order(modifier: tuple[int, object]) -> int:
    return modifier[0]


# -- steps


def _true(_: Run) -> bool:
    return True


def _choose(branches: tuple[tuple[Test, tuple[Step, ...], str], ...], run: Run) -> bool:
    for test, steps, because in branches:
        run.spend(1)
        if test(run):
            run.because.append(because)
            goes_on = all(step(run) for step in steps)
            run.because.pop()
            return goes_on
    return True


def _keep(run: Run, node: Node) -> bool:
    run.act(HERE, node.line, node.source)
    return True


def _discard(run: Run) -> bool:
    run.is_kept = False
    return True


def _stop(_: Run) -> bool:
    return False


# -- values


def _values(run: Run, names: Iterable[Text]) -> list[str]:
    found: list[str] = []
    for name in names:
        values = run.item.values(run.expand(name).lower())
        run.spend(_VALUE * len(values) + 1)
        found += values
    return found


def _addresses(run: Run, name: str) -> Iterable[Address]:
    found = run.item.addresses(name)
    run.spend(_VALUE * len(found) + 1)
    return found


def _paths(run: Run, name: str) -> Iterable[Address]:
    """The addresses of the envelope. RFC 5228 §5.4: all parts of a null path are empty."""
    if name not in _ENVELOPE:
        return ()
    found = run.item.addresses(_ENVELOPE[name])
    run.spend(_VALUE * len(found) + 1)
    is_null = any(value in ("", "<>") for value in run.item.values(_ENVELOPE[name]))
    return (Address("", "", ""),) if is_null else found

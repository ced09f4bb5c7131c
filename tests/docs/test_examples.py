"""Every example of the documentation, executed; and the references against what they describe."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import mdirclient
import mdirclient.mail
from mdirclient.cli import exits, mdir, mdird, smtp
from mdirclient.cli.arguments import Parser
from mdirclient.settings import SETTINGS
from tests.mails import two_photos
from tests.system.commands import SCRIPTS

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(page: Path) -> Iterator[tuple[str, str, int]]:
    """(language, text, line) of each fenced block."""
    text = page.read_text()
    for match in BLOCK.finditer(text):
        yield match[1], match[2], text.count("\n", 0, match.start()) + 2


def has_examples(page: Path) -> bool:
    """Whether something on it can be executed."""
    return any(language in ("console", "python") for language, _, _ in blocks(page))


class Console:
    """A shell that goes on from block to block."""

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}

    def run(self, text: str, line: int) -> None:
        """Run the commands of a block and compare what they print."""
        for command, expected in commands(text):
            done = subprocess.run(
                ["sh", "-c", f"set -eu\n{command}\nenv -0 >.environment"],
                capture_output=True,
                text=True,
                env=os.environ | {"PATH": f"{SCRIPTS}:{os.environ['PATH']}"} | self.variables,
            )
            assert (expected, "", 0) == (done.stdout, done.stderr, done.returncode), (line, command)
            found = Path(".environment").read_text().split("\0")
            self.variables = dict(pair.split("=", 1) for pair in found if pair.startswith("MDIR"))
            Path(".environment").unlink()


def commands(text: str) -> Iterator[tuple[str, str]]:
    """(command, expected output) of a console block: `$` begins one, `>` goes on."""
    command: list[str] = []
    output: list[str] = []
    for row in [*text.splitlines(), "$ "]:
        if row.startswith("$ "):
            if command:
                yield "\n".join(command), "".join(f"{line}\n" for line in output)
            command, output = [row[2:]], []
        elif row.startswith(("> ", ">")) and not output:
            command.append(row[2:])
        else:
            output.append(row)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if has_examples(page)], ids=lambda page: page.stem
)
def test_examples(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One directory and one namespace for each page."""
    monkeypatch.chdir(tmp_path)
    console = Console()
    names: dict[str, object] = {}
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=OPTIONS)
    for language, text, line in blocks(page):
        if language == "console":
            console.run(text, line)
        elif language == "python":
            assert ">>>" in text, f"{page}:{line}: an example that is not executed"
            example = parser.get_doctest(text, names, page.stem, str(page), line)
            problems: list[str] = []
            runner.run(example, out=problems.append, clear_globs=False)
            assert [] == problems, "\n".join(problems)
            names = example.globs


def test_there_are_examples_on_each_format() -> None:
    """A page of a format without one is not done."""
    for page in (DOCS / "formats").glob("*.md"):
        assert has_examples(page), page.name


def parsers() -> Iterator[tuple[str, Parser]]:
    """(command, parser) of every command and subcommand."""

    def inside(parser: Parser) -> Iterator[tuple[str, Parser]]:
        yield parser.prog, parser
        for action in parser._actions:
            choices = getattr(action, "choices", None)
            for child in choices.values() if isinstance(choices, dict) else ():
                yield from inside(child)

    for parser in (mdir.parser(), mdird.parser(), smtp.parser()):
        yield from inside(parser)


def test_cli_reference_is_what_help_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command, word for word."""
    monkeypatch.setenv("COLUMNS", "90")
    page = (DOCS / "reference" / "cli.md").read_text()
    for command, parser in parsers():
        assert f"`{command}`" in page
        assert parser.format_help().strip() in page, command


def test_settings_reference_is_the_table() -> None:
    """Each setting with its default and meaning."""
    page = (DOCS / "reference" / "settings.md").read_text()
    for setting in SETTINGS:
        default = f"`{setting.default}`" if setting.default else "none"
        assert f"| `{setting.name}` | {default} | {setting.meaning} |" in page


@pytest.mark.parametrize("module", [mdirclient, mdirclient.mail])
def test_api_reference_lists_the_public_names(module: ModuleType) -> None:
    """`__all__` and the reference are the same."""
    page = (DOCS / "reference" / "api.md").read_text()
    sections = re.split(r"currentmodule:: ([\w.]+)", page)[1:]
    texts = dict(zip(sections[::2], sections[1::2], strict=True))
    listed = set(re.findall(r"auto(?:class|function):: (\w+)", texts[module.__name__]))
    above = set(mdirclient.__all__) if module is not mdirclient else {"aio", "errors"}
    assert set(module.__all__) - above == listed


def test_exit_codes_are_listed() -> None:
    """Every code of the table."""
    page = (DOCS / "reference" / "errors.md").read_text()
    codes = {code for _, code in exits.CODES}
    for code in codes | {exits.OK, exits.USAGE, exits.TEMPORARY, exits.INTERRUPTED}:
        assert f"| {code} |" in page
    assert str(exits.NO_USER) in page


def test_every_page_is_in_the_contents() -> None:
    """Sphinx warns too; this says which."""
    contents = "".join(page.read_text() for page in DOCS.rglob("index.md"))
    for page in PAGES:
        if page.name != "index.md":
            assert page.stem in contents, page


def readme_blocks(wanted: str) -> list[str]:
    """The README's blocks in a language."""
    return [text for language, text, _ in blocks(DOCS.parent / "README.md") if language == wanted]


def test_readme_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the account that it names, in a person's own data directory."""
    monkeypatch.chdir(tmp_path)
    with mdirclient.connect() as mdird:
        account = "SMTP/Accounts/jojolapin@machin.com"
        mdirclient.make_folder(mdird, account)
        for header in mdird.store.add(two_photos()).headers():
            mdird.put(account, header)
    (code,) = [
        text for language, text, _ in blocks(DOCS.parent / "README.md") if language == "python"
    ]
    exec(compile(code, "README.md", "exec"), {})
    expected = ["photos@example.org-1.txt", "photo.jpg", "photo (2).jpg"]
    assert f"Été 2026 {expected}\n" == capsys.readouterr().out


def test_readme_names_the_commands_that_ci_runs() -> None:
    """The README's two commands, and nothing else, decide."""
    (readme,) = [
        text for language, text, _ in blocks(DOCS.parent / "README.md") if language == "sh"
    ]
    named = [line.partition("#")[0].strip() for line in readme.splitlines()]
    run = (DOCS.parent / ".ci" / "run").read_text().splitlines()
    assert named == [line for line in run if line.startswith("sh ")]

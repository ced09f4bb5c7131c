"""What the command lines print: plain lines, JSON, a progress bar."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator

from mdirclient.folder import Entry
from mdirclient.header import Header
from mdirclient.sync import SyncReport
from mdirclient.sync.plan import Step


def shown(text: str) -> str:
    """A stranger's text for a terminal: nothing that moves the cursor or changes direction."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def entry_line(entry: Entry) -> str:
    """`size  name  url`, for `mdir ls`."""
    return f"{entry.header.get('size') or '-':>10}  {shown(entry.name)}  {shown(str(entry.url))}"


def entry_object(entry: Entry) -> dict[str, object]:
    """For `mdir ls --json`; a field that is repeated becomes a list."""
    return {"name": entry.name, "url": str(entry.url), "header": _object(entry.header)}


def _object(header: Header) -> dict[str, object]:
    values = {name: header.get_all(name) for name, _ in header}
    return {name: found[0] if len(found) == 1 else list(found) for name, found in values.items()}


def step_line(step: Step) -> str:
    """For `mdir sync --dry-run`."""
    name = step.header.get("suggested-name") or ""
    return f"{step.action:<7} {shown(str(step.url))} {shown(name)}".rstrip()


def report_line(report: SyncReport, *, dry_run: bool) -> str:
    """For `mdir sync`."""
    counts = f"{report.fetched} fetched, {report.updated} updated, {report.removed} removed"
    waiting = f", {report.pending} pending" if report.pending else ""
    return f"version {report.version}: {counts}{waiting}{' (dry run)' * dry_run}"


def report_object(report: SyncReport) -> dict[str, object]:
    """For `mdir sync --json`."""
    return {
        "version": report.version,
        "fetched": report.fetched,
        "updated": report.updated,
        "removed": report.removed,
        "pending": report.pending,
        "steps": [{"action": step.action, "url": str(step.url)} for step in report.steps],
    }


def print_json(value: object) -> None:
    """One object on one line."""
    print(json.dumps(value, ensure_ascii=False))


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error while work goes on; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        yield _plain_progress(title)
        print(file=sys.stderr)
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_progress(title: str) -> Callable[[int, int], None]:
    def show(done: int, total: int) -> None:
        print(f"\r{shown(title)}: {done} of {total}", end="", file=sys.stderr, flush=True)

    return show

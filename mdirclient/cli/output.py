"""What the command lines print: plain lines, JSON, a progress bar."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator

import attrs

from mdirclient._fs import FileSystem
from mdirclient.cli.arguments import shown
from mdirclient.folder import Entry, Finding, Status
from mdirclient.header import Header
from mdirclient.sync import SyncReport
from mdirclient.sync.plan import Step


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
    name = step.name or step.header.get("suggested-name") or ""
    words = [f"{step.action:<7}", *([shown(str(step.url))] if step.url else []), shown(name)]
    return " ".join(words).rstrip()


def report_line(report: SyncReport, *, dry_run: bool) -> str:
    """For `mdir sync`."""
    counts = f"{report.fetched} fetched, {report.updated} updated, {report.removed} removed"
    waiting = f", {report.pushed} pushed" if report.pushed else ""
    waiting += f", {report.pending} pending" if report.pending else ""
    return f"version {report.version}: {counts}{waiting}{' (dry run)' * dry_run}"


def report_object(report: SyncReport) -> dict[str, object]:
    """For `mdir sync --json`."""
    return {
        "version": report.version,
        "fetched": report.fetched,
        "updated": report.updated,
        "removed": report.removed,
        "pending": report.pending,
        "pushed": report.pushed,
        "steps": [_step_object(step) for step in report.steps],
        "skipped": [{"name": one.name, "reason": one.reason} for one in report.skipped],
    }


def _step_object(step: Step) -> dict[str, object]:
    url = None if step.url is None else str(step.url)
    return {"action": step.action, "url": url, **({"name": step.name} if step.name else {})}


def status_lines(status: Status) -> Iterator[str]:
    """For `mdir status`: what happened and to which name."""
    for name in status.new:
        yield f"new       {shown(name)}"
    for entry in status.missing:
        yield f"missing   {shown(entry.name)}"
    for found in status.renamed:
        yield f"renamed   {shown(found.entry.name)} -> {shown(found.name)}"
    for entry in status.modified:
        yield f"modified  {shown(entry.name)}"
    for header in status.pending:
        yield f"pending   {shown(header['url'])} {shown(header.get('pending-reason') or '')}"


def status_object(status: Status) -> dict[str, object]:
    """For `mdir status --json`."""
    return {
        "new": list(status.new),
        "missing": [_named(entry) for entry in status.missing],
        "renamed": [{**_named(found.entry), "new-name": found.name} for found in status.renamed],
        "modified": [_named(entry) for entry in status.modified],
        "pending": [
            {"url": header["url"], "reason": header.get("pending-reason")}
            for header in status.pending
        ],
    }


def _named(entry: Entry) -> dict[str, object]:
    return {"name": entry.name, "url": str(entry.url)}


def check_lines(
    system: FileSystem, repaired: Iterable[Finding], left: Iterable[Finding], *, is_dry: bool
) -> Iterator[str]:
    """For `mdir check`: what the file system can do, what was repaired, what is left."""
    yield f"file system: {_system_text(system)}"
    for finding in repaired:
        verb = "would repair" if is_dry else "repaired"
        yield f"{verb} {_finding_text(finding)}: {finding.remedy}"
    is_told = set(repaired) if is_dry else set()
    for finding in left:
        if finding not in is_told:
            yield f"{_finding_text(finding)}; remedy: {finding.remedy or finding.advice}"


def _finding_text(finding: Finding) -> str:
    detail = f" ({shown(finding.detail)})" if finding.detail else ""
    return f"{shown(finding.path)}: {finding.problem}{detail}"


def _system_text(system: FileSystem) -> str:
    if not system.is_writable:
        return f"{system.type or 'unknown'}, not writable"
    words = [
        system.type or "unknown",
        "network" if system.is_network else "local",
        "hard links" if system.has_hard_links else "no hard links",
        "case-sensitive" if system.is_case_sensitive else "case-insensitive",
        "keeps normal forms" if system.keeps_normal_forms else "mixes normal forms",
        "exact times" if system.keeps_times else "coarse times",
        f"names to {system.longest_name} bytes",
    ]
    return ", ".join(words)


def check_object(
    system: FileSystem, repaired: Iterable[Finding], left: Iterable[Finding]
) -> dict[str, object]:
    """For `mdir check --json`."""
    return {
        "file-system": {name.replace("_", "-"): v for name, v in attrs.asdict(system).items()},
        "repaired": [_finding_object(finding) for finding in repaired],
        "findings": [_finding_object(finding) for finding in left],
    }


def _finding_object(finding: Finding) -> dict[str, object]:
    texts = {"problem": finding.problem, "remedy": finding.remedy, "advice": finding.advice}
    return {**attrs.asdict(finding), **texts}


def print_json(value: object) -> None:
    """One object on one line."""
    # A name on disk that is no UTF-8 has surrogates; JSON writes those as escapes.
    text = json.dumps(value, ensure_ascii=False)
    print(text if text.isprintable() else json.dumps(value))


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

"""What the rules of a folder cost a message: `python -m tests.benchmarks.rules`.

A script of 200 rules, of which none fits but the last; real mails, if `$MDIR_TEST_CORPUS` names a
folder of them. Pigeonhole's sieve-test cannot be asked for this: it starts a process for each mail.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from mdirclient import Header, connect, make_folder
from mdirclient.mail.memory import take_apart
from mdirclient.mail.stored import StoredMessage
from mdirclient.mdird.rules import install_rules
from mdirclient.stribution import Item, compile_script
from mdirclient.url import PartURL
from tests.ruled import RULED

RULES = 200
KINDS = (
    'header :contains "subject" "project {0}"',
    'header :matches "list-id" "*<list{0}.*>*"',
    'address :domain :is ["to", "cc"] "company{0}.example"',
    'address :is "from" ["anna{0}@x.org", "bert{0}@x.org"]',
    'allof (header :is "x-tag" "tag{0}", not size :over 1M)',
)


def script() -> bytes:
    """Two hundred rules; the last fits every message."""
    rules = [
        f'if {KINDS[n % len(KINDS)].format(n)} {{ fileinto "F{n}"; stop; }}'
        for n in range(RULES - 1)
    ]
    head = 'require ["fileinto", "variables"];'
    return "\n".join([head, *rules, 'if true { fileinto "rest"; }']).encode()


def messages() -> list[Header]:
    """Headers as a delivery makes them."""
    corpus = os.environ.get("MDIR_TEST_CORPUS")
    mails = [path.read_bytes() for path in Path(corpus).glob("*.eml")] if corpus else list(RULED)
    headers = []
    for number, mail in enumerate(mails):
        taken = take_apart(mail)
        anchor = PartURL.parse(f"mdir:{number}@x.org/1")
        stored = StoredMessage(anchor, taken.parts, taken.fields, len(mail), taken.sha256)
        headers.append(stored.headers()[0])
    return headers


def main() -> None:
    """Print a table."""
    data = script()
    begin = time.perf_counter()
    compiled = compile_script(data)
    print(f"compile {RULES} rules: {(time.perf_counter() - begin) * 1000:.1f} ms")
    headers = messages()
    now = datetime.now(UTC)
    runs = []
    for _ in range(7):
        begin = time.perf_counter()
        for header in headers:
            compiled.evaluate(Item(header), now=now, exists=lambda target: False)
        runs.append((time.perf_counter() - begin) / len(headers) * 1000)
    print(f"evaluate, {len(headers)} mails: {statistics.median(runs):.3f} ms a message")
    with tempfile.TemporaryDirectory() as path, connect(f"file://{path}/mdir") as mdird:
        for folder in ("plain", "ruled"):
            make_folder(mdird, folder)
        install_rules(mdird, "ruled", data)
        taken: dict[str, list[float]] = {"plain": [], "ruled": []}
        for turn in range(7):
            for folder, times in taken.items():
                begin = time.perf_counter()
                with mdird.batch() as batch:
                    for number, header in enumerate(headers):
                        url = f"mdir:{turn}-{number}@x.org/1"
                        batch.classify(folder, header.replace("url", url))
                times.append((time.perf_counter() - begin) / len(headers) * 1000)
        for folder, times in taken.items():
            print(f"CLASS in batches, {folder}: {statistics.median(times):.3f} ms a message")


if __name__ == "__main__":
    main()

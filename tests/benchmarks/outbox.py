"""The outbox: how fast it empties, and how long the moment is in which a mail could go out twice.

    .venv/bin/python -m tests.benchmarks.outbox

The program that it hands mails to is `/bin/true`. The moment is from the end of that program to the
durable record of it by the runner (docs: decisions/0019).
"""

from __future__ import annotations

import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

from mdirclient import _fs
from tests.outboxed import outboxed

MAILS = 300
RECORDS = 300


def throughput(place: Path) -> float:
    """Mails a second, from the first that leaves to the last that is filed."""
    with outboxed(place) as world:
        for number in range(MAILS):
            world.compose(("subject", str(number)))
        begin = time.perf_counter()
        world.start("--jobs", "8", MDIR_SMTP_SENDMAIL="/bin/true")
        world.until(1)
        first, since = world.received(), time.perf_counter()
        while world.received() < MAILS:
            assert time.perf_counter() < begin + 300
            time.sleep(0.05)
        return (MAILS - first) / (time.perf_counter() - since)


def moment(place: Path) -> list[float]:
    """Milliseconds of each record, as the runner writes it."""
    done = json.dumps({"id": "x" * 32, "code": 0, "output": "y" * 200}).encode()
    times = []
    for number in range(RECORDS):
        path = str(place / f"{number}.done")
        begin = time.perf_counter()
        _fs.replace(path, done, staged=f"{path}.new")
        times.append((time.perf_counter() - begin) * 1000)
    return sorted(times)


def main() -> None:
    """Run both."""
    print(f"Python {platform.python_version()}, Linux {platform.release()}")
    with tempfile.TemporaryDirectory() as place:
        print(f"| mails a second, 8 jobs | {throughput(Path(place) / 'w'):.0f} |")
        times = moment(Path(place))
        print(
            f"| moment, median, p99 | {statistics.median(times):.1f} ms,"
            f" {times[int(len(times) * 0.99)]:.1f} ms |"
        )


if __name__ == "__main__":
    main()

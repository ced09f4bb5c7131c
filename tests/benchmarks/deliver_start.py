"""`mdir-smtp deliver` on a small mail, as a whole process, in pairs with a bare Python.

    .venv/bin/python -m tests.benchmarks.deliver_start

The bytecode is compiled first, as an installation does it. Prints medians in milliseconds and
the median of the ratios of the pairs.
"""

from __future__ import annotations

import compileall
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mdirclient
from tests.mails import small
from tests.system.commands import SCRIPTS

PAIRS = 20
BARE = "import attrs, sqlite3, hashlib"


def timed(words: list[str], mail: bytes, environ: dict[str, str]) -> float:
    """Milliseconds of a whole process."""
    start = time.perf_counter()
    subprocess.run(words, input=mail, env=environ, check=True)
    return (time.perf_counter() - start) * 1000


def main() -> None:
    """Run the pairs and print a table."""
    compileall.compile_dir(Path(mdirclient.__file__).parent, quiet=1)
    with tempfile.TemporaryDirectory() as path:
        environ = os.environ | {"MDIRD": f"file://{path}/mdir", "HOME": path}
        deliver = [str(SCRIPTS / "mdir-smtp"), "deliver", "--recipient", "jo@machin.com"]
        account = [str(SCRIPTS / "mdir-smtp"), "account", "add", "jo@machin.com"]
        subprocess.run(account, env=environ, check=True, stdout=subprocess.DEVNULL)
        pairs = [
            (timed(deliver, small(n), environ), timed([sys.executable, "-c", BARE], b"", environ))
            for n in range(PAIRS + 2)
        ][2:]
    ours, bare = zip(*pairs, strict=True)
    ratio = statistics.median(one / other for one, other in pairs)
    print(f"Python {platform.python_version()}, {PAIRS} pairs, medians")
    print(f"mdir-smtp deliver                         {statistics.median(ours):7.1f} ms")
    print(f"python3 -c '{BARE}' {statistics.median(bare):7.1f} ms")
    print(f"ratio                                     {ratio:7.2f}")


if __name__ == "__main__":
    main()

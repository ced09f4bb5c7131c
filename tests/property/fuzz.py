"""Runs the fuzz target by libFuzzer, which looks for inputs that reach new code.

    .venv/bin/python -m tests.property.fuzz -runs=1000000 [DIRECTORY]

Needs the extra `fuzz` (atheris); the arguments are libFuzzer's. DIRECTORY holds inputs, and new
ones are added. The tests run it for a fixed count where atheris is installed; Hypothesis runs
the same target anyway.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Hand over to libFuzzer."""
    import atheris

    with atheris.instrument_imports(include=["mdirclient"]):
        from tests.property.mutations import SEEDS
        from tests.property.target import target

        for seed in SEEDS:  # imports what is imported late
            target(b"\x06" + seed)
    atheris.Setup(sys.argv, lambda data: target(bytes(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""Runs the fuzz target by libFuzzer, which looks for inputs that reach new code.

    .venv/bin/python -m tests.property.fuzz [smtp] -runs=1000000 [DIRECTORY]

With `smtp` it is the SMTP engine, else the parser of mails. Needs the extra `fuzz` (atheris); the
arguments are libFuzzer's. DIRECTORY holds inputs, and new ones are added. The tests run it for a
fixed count where atheris is installed; Hypothesis runs the same targets anyway.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Hand over to libFuzzer."""
    import atheris

    with atheris.instrument_imports(include=["mdirclient"]):
        from tests.property.mutations import SEEDS
        from tests.property.smtp_target import smtp_target
        from tests.property.target import target

        for seed in SEEDS:  # imports what is imported late
            target(b"\x06" + seed)
    is_smtp = sys.argv[1:2] == ["smtp"]
    chosen = smtp_target if is_smtp else target
    words = [sys.argv[0], *sys.argv[1 + is_smtp :]]
    atheris.Setup(words, lambda data: chosen(bytes(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()

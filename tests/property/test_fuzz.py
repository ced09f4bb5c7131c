"""The fuzz target for a fixed count."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.mutations import SEEDS, mutated
from tests.property.target import target


@settings(max_examples=1000)
@given(st.integers(0, 255), mutated())
def test_mutated_mails(step: int, mail: bytes) -> None:
    """By Hypothesis, from the vectors."""
    target(bytes([step]) + mail)


@pytest.mark.skipif(not find_spec("atheris"), reason="atheris is not installed")
def test_mutated_mails_by_coverage(tmp_path: Path) -> None:
    """By libFuzzer, which looks for inputs that reach new code."""
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    for number, seed in enumerate(SEEDS):
        (seeds / str(number)).write_bytes(b"\x06" + seed)
    options = ["-runs=3000", "-seed=1", "-max_len=4096", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.property.fuzz", *options, str(seeds)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=250,
    )
    assert 0 == done.returncode, done.stderr[-3000:]
    assert "Done 3000 runs" in done.stderr

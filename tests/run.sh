#!/bin/sh
# All that decides whether a change is good: style, types, layers, tests, docs.
# Arguments go to pytest. Needs python3 >= 3.11; the rest is installed in .venv.
set -eu
cd "$(dirname "$0")/.."
.ci/venv test lint docs
PATH=$PWD/.venv/bin:$PATH
export PATH
# libFuzzer where it installs; Hypothesis runs the same target anyway.
python -c 'import atheris' 2>/dev/null ||
    python -m pip --quiet --disable-pip-version-check install --only-binary :all: atheris ||
    echo "atheris does not install here: no fuzzing by coverage" >&2

ruff format --check --quiet .
ruff check --quiet .
mypy
layers=$(lint-imports) || {
    echo "$layers"
    exit 1
}
sphinx-build -n -W -q docs .venv/docs
# One more worker than there are processors: some tests wait. `-n 0` in the arguments runs all in
# one process.
workers=$(($(nproc) + 1))
if [ $# -gt 0 ]; then
    exec pytest -q -n "$workers" "$@"
fi
# What runs the same lines thousands of times does it in half the time when they are not traced.
many="tests/crash tests/interop tests/property"
pytest -q -n "$workers" --dist worksteal --cov --cov-report= $(printf -- '--ignore=%s ' $many)
covered=$(coverage report --skip-covered --skip-empty --fail-under 82) || {
    echo "$covered"
    exit 1
}
echo "$covered" | tail -n 30
pytest -q -n "$workers" --dist worksteal $many

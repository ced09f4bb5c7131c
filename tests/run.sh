#!/bin/sh
# All that decides whether a change is good: style, types, layers, tests, docs.
# Arguments go to pytest. Needs python3 >= 3.11; the rest is installed in .venv.
set -eu
cd "$(dirname "$0")/.."
.ci/venv test lint docs
PATH=$PWD/.venv/bin:$PATH
export PATH

ruff format --check --quiet .
ruff check --quiet .
mypy
layers=$(lint-imports) || {
    echo "$layers"
    exit 1
}
sphinx-build -n -W -q docs .venv/docs
coverage run -m pytest -q "$@"
coverage report --skip-covered --skip-empty --fail-under 90 | tail -n 30

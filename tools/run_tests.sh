#!/usr/bin/env bash
# Sets up .venv and runs the tests in two processes. Arguments go to pytest: bash tools/run_tests.sh tests/core -x -n 0
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
set_up_environment onedl lightly onnx detection test docs
exec .venv/bin/python -m pytest -n 2 --dist loadfile "$@"

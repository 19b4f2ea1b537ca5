#!/usr/bin/env bash
# Sets up .venv and runs the tests. Arguments go to pytest: bash tools/run_tests.sh tests/core -x
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
set_up_environment onedl lightly test
exec .venv/bin/python -m pytest "$@"

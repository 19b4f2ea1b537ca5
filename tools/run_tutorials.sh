#!/usr/bin/env bash
# Sets up .venv and runs the tutorials in docs/tutorials as notebooks, in minutes; a cell that fails is an error:
#   bash tools/run_tutorials.sh [NAME ...] [--keep-pictures]     --keep-pictures renews the pictures that the pages show
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
set_up_environment onedl docs
exec .venv/bin/python docs/run_tutorials.py "$@"

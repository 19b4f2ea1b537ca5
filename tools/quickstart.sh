#!/usr/bin/env bash
# Sets up .venv, pretrains DINO on real images on the CPU and measures what was learnt.
# Arguments go to tools/quickstart.py; --help lists them, --images DIR trains on your own folder.
set -euo pipefail
calling_folder="$PWD"
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
set_up_environment onedl
repository="$PWD"
cd "$calling_folder"
# Waiting threads spin, which makes a step several times slower when other programs run.
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-1000}"
exec "$repository/.venv/bin/python" "$repository/tools/quickstart.py" "$@"

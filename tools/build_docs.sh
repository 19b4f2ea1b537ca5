#!/usr/bin/env bash
# Sets up .venv and builds the documentation into docs/_build; a warning is an error:
#   bash tools/build_docs.sh [--serve [PORT]]     --serve shows it at http://127.0.0.1:PORT (8000), until Ctrl-C
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
if [ "$#" -gt 0 ] && [ "$1" != --serve ]; then
    sed -n 2,3p "$0" >&2
    exit 2
fi
set_up_environment onedl docs
.venv/bin/python -m sphinx -c docs . docs/_build/html --fail-on-warning --keep-going --quiet
echo "docs/_build/html/index.html"
if [ "${1:-}" = --serve ]; then
    exec .venv/bin/python -m http.server --bind 127.0.0.1 --directory docs/_build/html "${2:-8000}"
fi

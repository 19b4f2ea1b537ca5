#!/usr/bin/env bash
# Sourced by quickstart.sh, run_tests.sh and build_docs.sh. After `set_up_environment EXTRA...`, .venv/bin/python can
# import dino_plugin and the packages of the extras. PYTHON chooses the interpreter for .venv.
#
# A stamp for each extra records that it was installed for this checkout and this setup.cfg, so a second call does
# nothing and needs no network.

set_up_environment() {
    local root stamps state extra missing=()
    root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
    cd "$root"
    stamps=".venv/dino_plugin_installed"
    state="$( (printf '%s\n' "$root"; cat setup.cfg setup.py pyproject.toml) | cksum | tr ' ' '-')"

    if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c '' 2>/dev/null; then
        _make_venv
    fi
    for extra in "$@"; do
        [ -e "$stamps/$extra-$state" ] || missing+=("$extra")
    done
    if [ "${#missing[@]}" -eq 0 ]; then
        return
    fi

    extra="$(IFS=,; echo "$*")"
    echo "[set-up 2/2] Installing dino_plugin[$extra]: about 3 minutes and 6 GB on a fresh machine, mostly PyTorch."
    local progress=off
    if [ -t 1 ]; then progress=on; fi
    .venv/bin/python -m pip install --disable-pip-version-check --progress-bar "$progress" --editable ".[$extra]"
    if [[ " $* " = *" detection "* ]]; then
        # Its requirements would bring a second OpenCV; what it needs is in the extra.
        .venv/bin/python -m pip install --disable-pip-version-check --progress-bar "$progress" --no-deps onedl-mmdetection
    fi
    if ! .venv/bin/python -c 'import cv2' >/dev/null 2>&1; then
        .venv/bin/python -c 'import cv2' || true
        echo "OpenCV was installed but does not load. If the line above names libGL or libglib, install them:" >&2
        echo "    apt-get install -y libgl1 libglib2.0-0" >&2
        return 1
    fi
    mkdir -p "$stamps"
    for extra in "$@"; do
        : > "$stamps/$extra-$state"
    done
}

_make_venv() {
    local python="${PYTHON:-python3}"
    if ! command -v "$python" >/dev/null; then
        echo "No $python found: install Python 3.10 or newer, or name one: PYTHON=/path/to/python3.11 bash $0" >&2
        return 1
    fi
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
        echo "$("$python" --version 2>&1) is too old: Python 3.10 or newer is needed." \
            "Name one: PYTHON=/path/to/python3.11 bash $0" >&2
        return 1
    fi
    echo "[set-up 1/2] Making .venv with $("$python" --version 2>&1)."
    rm -rf .venv
    if ! "$python" -m venv .venv; then
        rm -rf .venv
        echo "Could not make .venv. On Debian and Ubuntu venv is a separate package:" \
            "apt-get install -y python3-venv" >&2
        return 1
    fi
}

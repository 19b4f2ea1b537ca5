#!/usr/bin/env bash
# Runs the whole suite and the first hour of a user in fresh environments:  bash tools/test_matrix.sh [NAME ...]
#
#   oldest     Python 3.10 and the oldest version of everything that setup.cfg allows
#   newest     Python 3.12 and the newest that pip offers
#   official   the official OpenMMLab packages, Python 3.11
#   python313  Python 3.13 and the newest that pip offers
#
# Without names all four run. Environments are made in $MATRIX (default: a temporary folder), 6 GB each, and removed
# afterwards. Python is python3.10 ... or pyenv's. Each prints a row of CONTRIBUTING's table.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT="$PWD"
MATRIX="${MATRIX:-$(mktemp -d)}"
ROWS="$MATRIX/rows"
WORKERS="${WORKERS:-2}"
FAILED=0

find_python() {
    if "python$1" -c '' 2>/dev/null; then
        command -v "python$1"
    else
        ls -d "$HOME/.pyenv/versions/$1".*/bin/python 2>/dev/null
    fi | tail -1
}

# name>=1.2 of setup.cfg -> name==1.2.*
lower_bounds() {
    grep -E '^    [A-Za-z0-9_-]+>=' setup.cfg | grep -vE '^    mm' | sed -E 's/^ +([A-Za-z0-9_-]+)>=([0-9.]+).*/\1==\2.*/' | sort -u
}

run() {
    local name="$1" version="$2" family="$3" python env="$MATRIX/$1" options=()
    python="$(find_python "$version")"
    if [ -z "$python" ]; then
        echo "$name: Python $version not found" >&2
        return 1
    fi
    rm -rf "$env" && "$python" -m venv "$env" || return 1
    if [ "$name" = oldest ]; then
        lower_bounds > "$env/oldest.txt"
        options=(--constraint "$env/oldest.txt")
    fi
    git clone --quiet "$ROOT" "$env/checkout" || return 1
    "$env/bin/python" -m pip install --quiet --upgrade pip || return 1
    "$env/bin/python" -m pip install --quiet "${options[@]}" "$env/checkout[$family,lightly,onnx,detection,test]" > "$env/install.log" 2>&1 \
        || { tail -20 "$env/install.log" >&2; return 1; }
    "$env/bin/python" -m pip install --quiet --no-deps "$([ "$family" = onedl ] && echo onedl-mmdetection || echo mmdet)" || return 1
    (cd "$env" && bin/python checkout/tests/first_hour/walk.py --installed) > "$env/first_hour.log" 2>&1
    (cd "$env/checkout" && ../bin/python -m pytest -n "$WORKERS" --dist loadfile -q) > "$env/suite.log" 2>&1
    local versions
    versions="$("$env/bin/python" - <<'PYTHON'
from importlib.metadata import PackageNotFoundError, version
import platform
def of(*names):
    for name in names:
        try:
            return f'{name} {version(name)}'
        except PackageNotFoundError:
            pass
print(' | '.join([platform.python_version(), version('torch').split('+')[0], version('timm'), version('lightly'), ', '.join([
    of('onedl-mmengine', 'mmengine'), of('onedl-mmcv', 'mmcv', 'mmcv-lite'), of('onedl-mmsegmentation', 'mmsegmentation')])]))
PYTHON
)"
    echo "| $name | $versions | $(tail -1 "$env/suite.log" | tr -d =) | $(tail -1 "$env/first_hour.log") | $(date +%F) |" | tee -a "$ROWS"
    grep -E '^(FAILED|ERROR)' "$env/suite.log" "$env/first_hour.log"
    ! grep -qE '^(FAILED|ERROR)' "$env/suite.log" "$env/first_hour.log"
}

for name in "${@:-oldest newest official python313}"; do
    for each in $name; do
        case "$each" in
            oldest) run oldest 3.10 onedl ;;
            newest) run newest 3.12 onedl ;;
            official) run official 3.11 openmmlab ;;
            python313) run python313 3.13 onedl ;;
            *) echo "$each: no such environment" >&2; false ;;
        esac || FAILED=1
        rm -rf "$MATRIX/$each/lib" "$MATRIX/$each/checkout"
    done
done
echo "| environment | Python | torch | timm | Lightly | OpenMMLab | suite | first hour | date |"
echo "|---|---|---|---|---|---|---|---|---|"
cat "$ROWS"
exit $FAILED

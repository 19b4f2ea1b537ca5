#!/usr/bin/env bash
# Trains under Slurm:  GPUS=16 bash tools/slurm_train.sh PARTITION JOB CONFIG WORK_DIR [arguments of train.py]
# GPUS (8) in all, GPUS_PER_NODE (8), CPUS_PER_TASK (8) and SRUN_ARGS (none) come from the environment.
set -euo pipefail
if [ "$#" -lt 4 ]; then sed -n '2,3s/^# //p' "$0" >&2; exit 2; fi
PARTITION=$1
JOB=$2
CONFIG=$3
WORK_DIR=$4
GPUS="${GPUS:-8}"
GPUS_PER_NODE="${GPUS_PER_NODE:-8}"
if [ "$GPUS" -lt "$GPUS_PER_NODE" ]; then GPUS_PER_NODE=$GPUS; fi
read -r -a EXTRA <<< "${SRUN_ARGS:-}"
TOOLS="$(dirname "${BASH_SOURCE[0]}")"

exec srun --partition="$PARTITION" \
    --job-name="$JOB" \
    --gres="gpu:$GPUS_PER_NODE" \
    --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" \
    --cpus-per-task="${CPUS_PER_TASK:-8}" \
    --kill-on-bad-exit=1 \
    ${EXTRA[@]+"${EXTRA[@]}"} \
    "${PYTHON:-python}" -u "$TOOLS/train.py" "$CONFIG" --work-dir "$WORK_DIR" --launcher slurm "${@:5}"

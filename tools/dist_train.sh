#!/usr/bin/env bash
# Trains on several GPUs of one machine:   bash tools/dist_train.sh CONFIG GPUS [arguments of train.py]
# On several machines, run it on each:     NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 bash tools/dist_train.sh CONFIG 8
# MAX_RESTARTS=3 starts all processes again after one has died, up to three times; they go on from the last checkpoint.
set -euo pipefail
if [ "$#" -lt 2 ]; then sed -n '2,4s/^# //p' "$0" >&2; exit 2; fi
CONFIG=$1
GPUS=$2
TOOLS="$(dirname "${BASH_SOURCE[0]}")"

exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --nproc_per_node="$GPUS" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --max_restarts="${MAX_RESTARTS:-0}" \
    "$TOOLS/train.py" "$CONFIG" --launcher pytorch "${@:3}"

#!/usr/bin/env bash
# Trains under Slurm:  GPUS=16 bash tools/slurm_train.sh PARTITION JOB CONFIG WORK_DIR [arguments of train.py]
# GPUS (8) in all, GPUS_PER_NODE (8), CPUS_PER_TASK (8) and SRUN_ARGS (none) come from the environment.
# REQUEUE=1 submits a job that stops with a checkpoint 120 seconds before its time limit, and goes on in a new one until
# the training is complete; preemption does the same. SRUN_ARGS go to sbatch then, --time=HH:MM:SS among them.
set -euo pipefail
if [ "$#" -lt 4 ]; then sed -n '2,5s/^# //p' "$0" >&2; exit 2; fi
PARTITION=$1
JOB=$2
CONFIG=$3
WORK_DIR=$4
GPUS="${GPUS:-8}"
GPUS_PER_NODE="${GPUS_PER_NODE:-8}"
if [ "$GPUS" -lt "$GPUS_PER_NODE" ]; then GPUS_PER_NODE=$GPUS; fi
read -r -a EXTRA <<< "${SRUN_ARGS:-}"
TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
ALLOCATION=(
    --partition="$PARTITION"
    --job-name="$JOB"
    --gres="gpu:$GPUS_PER_NODE"
    --ntasks="$GPUS"
    --ntasks-per-node="$GPUS_PER_NODE"
    --cpus-per-task="${CPUS_PER_TASK:-8}"
    ${EXTRA[@]+"${EXTRA[@]}"}
)
TRAIN=("${PYTHON:-python}" -u "$TOOLS/train.py" "$CONFIG" --work-dir "$WORK_DIR" --launcher slurm "${@:5}")

if [ -z "${REQUEUE:-}" ]; then
    exec srun "${ALLOCATION[@]}" --kill-on-bad-exit=1 "${TRAIN[@]}"
fi
if [ "$REQUEUE" != running ]; then # this script again, as the job's, which gets the signal
    mkdir -p "$WORK_DIR"
    exec sbatch "${ALLOCATION[@]}" --requeue --signal=B:USR1@120 --open-mode=append --output="$WORK_DIR/slurm-%j.log" \
        --wrap="REQUEUE=running exec bash $(printf '%q ' "$TOOLS/slurm_train.sh" "$@")"
fi

# srun hands the signal on to every process of the training. A wait that a signal ends has not seen the end of srun.
ASKED=
hand_on() { ASKED=$1; kill "-$1" "$STEP" 2>/dev/null || true; }
srun --cpus-per-task="${CPUS_PER_TASK:-8}" --kill-on-bad-exit=1 "${TRAIN[@]}" &
STEP=$!
trap 'hand_on USR1' USR1
trap 'hand_on TERM' TERM
STATUS=0
while kill -0 "$STEP" 2>/dev/null; do
    STATUS=0
    wait "$STEP" || STATUS=$?
done
# Slurm puts a preempted job back into the queue, but not if it ends by itself in its grace time, of which only the
# training hears. A job that a person cancels must not come back. train.py sees SLURM_RESTART_COUNT and resumes.
preempted() { scontrol show job "$SLURM_JOB_ID" | grep -q 'PreemptTime=[0-9]'; }
if [ "$STATUS" -ne 0 ] && { [ "$ASKED" = USR1 ] || preempted; }; then
    scontrol requeue "$SLURM_JOB_ID" || true # Slurm was faster
fi
exit "$STATUS"

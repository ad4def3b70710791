#!/usr/bin/env bash
# Train one config on SLURM, a process per GPU:
#   GPUS=4 tools/slurm_train.sh PARTITION JOB_NAME CONFIG [flags of tools/train.py]
# GPUS (4), GPUS_PER_NODE (at most 8 of them), CPUS_PER_TASK (5) and SRUN_ARGS say what each gets.
# For many runs, which are resumed and compared, see tools/study.py --cluster slurm.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [flags of tools/train.py]" >&2
    exit 2
fi
partition=$1
job_name=$2
config=$3
shift 3
gpus=${GPUS:-4}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
# SRUN_ARGS is several words.
# shellcheck disable=SC2086
exec srun --partition="$partition" --job-name="$job_name" \
    --gres="gpu:$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$(dirname "${BASH_SOURCE[0]}")/train.py" "$config" --launcher slurm "$@"

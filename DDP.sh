#!/usr/bin/env bash
# Start train_DDP.py with one process per GPU of this machine (two on the CPU if there is none).
#
#   bash DDP.sh --train_all --bf16
#   NPROC=4 bash DDP.sh --train_all                                   # four processes
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 bash DDP.sh --train_all # the first of two machines; NODE_RANK=1 on the other
set -euo pipefail

gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l || true)
if [ "$gpus" -eq 0 ]; then set -- --gpu_ids -1 "$@"; fi
place=(--standalone)
if [ "${NNODES:-1}" != 1 ]; then
    place=(--nnodes "$NNODES" --node_rank "${NODE_RANK:?is the number of this machine, from 0}"
        --master_addr "${MASTER_ADDR:?is the address of the first machine}" --master_port "${MASTER_PORT:-29500}")
fi
here=$(cd -- "$(dirname -- "$0")" && pwd)
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-$(command -v python || echo python3)}" -m person_reid.console.launch "${place[@]}" \
    --nproc_per_node "${NPROC:-$((gpus > 0 ? gpus : 2))}" "$here/train_DDP.py" "$@"

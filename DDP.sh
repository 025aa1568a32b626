#!/usr/bin/env bash
# Start train_DDP.py with one process per GPU of this machine (two on the CPU if there is none).
#
#   bash DDP.sh --train_all --bf16
#   NPROC=4 bash DDP.sh --train_all                                   # four processes
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 bash DDP.sh --train_all # the first of two machines; NODE_RANK=1 on the other
set -euo pipefail
cd "$(dirname "$0")"

gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l || true)
if [ "$gpus" -eq 0 ]; then set -- --gpu_ids -1 "$@"; fi
processes=${NPROC:-$((gpus > 0 ? gpus : 2))}

if [ "${NNODES:-1}" -gt 1 ]; then
    : "${MASTER_ADDR:?NNODES is ${NNODES}: set MASTER_ADDR to the address of the first machine}"
    place=(--nnodes "$NNODES" --node_rank "${NODE_RANK:?set NODE_RANK to the number of this machine, from 0}"
           --master_addr "$MASTER_ADDR" --master_port "${MASTER_PORT:-29500}")
else
    place=(--standalone)
fi
exec "${PYTHON:-python}" -m torch.distributed.run "${place[@]}" --nproc_per_node "$processes" train_DDP.py "$@"

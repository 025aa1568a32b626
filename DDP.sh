#!/usr/bin/env bash
# Start train_DDP.py with one process per GPU of this machine (two on the CPU if there is none).
#
#   bash DDP.sh --train_all --bf16
#   NPROC=4 bash DDP.sh --train_all                                   # four processes
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 bash DDP.sh --train_all # the first of two machines; NODE_RANK=1 on the other
set -euo pipefail

refuse() {
    echo "error: $1" >&2
    exit 2
}
whole() { # NAME VALUE LEAST MOST
    if ! [[ $2 =~ ^[0-9]{1,5}$ ]] || ((10#$2 < $3 || 10#$2 > $4)); then
        refuse "$1=$2: expected a whole number from $3 to $4."
    fi
}

gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l || true)
if [ "$gpus" -eq 0 ]; then set -- --gpu_ids -1 "$@"; fi
processes=${NPROC:-$((gpus > 0 ? gpus : 2))}
machines=${NNODES:-1}
whole NPROC "$processes" 1 1024
whole NNODES "$machines" 1 65536

if ((10#$machines > 1)); then
    [ -n "${MASTER_ADDR:-}" ] || refuse "NNODES=$machines: set MASTER_ADDR to the address of the first machine."
    port=${MASTER_PORT:-29500}
    whole NODE_RANK "${NODE_RANK:-}" 0 $((10#$machines - 1)) # the number of this machine
    whole MASTER_PORT "$port" 1 65535
    place=(--nnodes "$machines" --node_rank "$NODE_RANK" --master_addr "$MASTER_ADDR" --master_port "$port")
else
    place=(--standalone)
fi
here=$(cd -- "$(dirname -- "$0")" && pwd)
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-$(command -v python || command -v python3 || true)}
[ -n "$python" ] || refuse "neither python nor python3 is there: set PYTHON to the Python that has PyTorch."
exec "$python" -m person_reid.console.launch "${place[@]}" --nproc_per_node "$processes" "$here/train_DDP.py" "$@"

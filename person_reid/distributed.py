"""The processes of one run, started by torchrun, and what they tell each other. A process alone is a world of one.

torchrun --standalone --nproc_per_node 4 train_DDP.py --train_all
torchrun --standalone --nproc_per_node 4 test.py
"""

import os
from contextlib import contextmanager

import numpy as np
import torch
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from person_reid.basics import UserError, describe, importable, select_device


class World:
    """rank: this process's number in 0..size-1; local_rank: its number on this machine."""

    def __init__(self, rank=0, size=1, local_rank=0):
        self.rank, self.size, self.local_rank = rank, size, local_rank

    @property
    def leads(self):
        """Whether this is the one process that prints and writes files."""
        return self.rank == 0

    def gpu(self, gpu_ids):
        """The one of `--gpu_ids` that is this process's, as text: the first process has the first, and so on.

        One number stands for as many GPUs as there are processes on this machine; -1 is the CPU.
        """
        numbers = gpu_ids.split(",")
        if self.size == 1 or gpu_ids.strip() == "-1":
            return gpu_ids
        return numbers[self.local_rank] if len(numbers) > self.local_rank else str(self.local_rank)

    def device(self, gpu_ids):
        """The device of this process."""
        return select_device(self.gpu(gpu_ids))

    def sum(self, values):
        """The sum over all processes of a tensor or a NumPy array, of the same kind, the same on each."""
        if self.size == 1:
            return values
        total = torch.from_numpy(values) if isinstance(values, np.ndarray) else values.clone()
        distributed.all_reduce(total)
        return total.numpy() if isinstance(values, np.ndarray) else total

    def share(self, images):
        """What this process has of N images, every size-th from its own on; what it makes of them, `collect` joins."""
        return images[self.rank :: self.size]

    def collect(self, share, count):
        """The array (count, …) of which every process has a share, on each of them."""
        whole = np.zeros((count, *share.shape[1:]), share.dtype)
        whole[self.rank :: self.size] = share
        return self.sum(whole)

    def follow(self, tensors):
        """Give these tensors the values that they have in the first process, in place."""
        for tensor in tensors if self.size > 1 else ():
            distributed.broadcast(tensor, 0)

    def gather(self, tensor):
        """(B, …) of every process → (size · B, …), by rank; differentiable: each process gets the sum of the gradients
        that all of them have for its part."""
        return tensor if self.size == 1 else Gather.apply(tensor)

    def wait(self):
        """Go on when all processes are here."""
        self.sum(np.zeros(1))

    @contextmanager
    def leader_first(self):
        """A block that the first process is through before the others enter it: what it writes, they find."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()


class Gather(torch.autograd.Function):
    """See World.gather."""

    @staticmethod
    def forward(context, tensor):
        tensor = tensor.contiguous()
        parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, tensor)
        return torch.cat(parts)

    @staticmethod
    def backward(context, gradient):
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total.chunk(distributed.get_world_size())[distributed.get_rank()]


@contextmanager
def join_world(gpu_ids="-1"):
    """Join the other processes and yield the World; a world of one where torchrun started nothing.

    NCCL where every process has a GPU, else gloo.
    """
    if "LOCAL_RANK" not in os.environ:
        yield World()
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    on_gpus = gpu_ids.strip() != "-1" and torch.cuda.is_available()
    # A restarted process must not find the addresses of those that have ended: PyTorch keeps them in the same store.
    store, rank, size = next(rendezvous("env://"))
    store = distributed.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    backend = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield World(distributed.get_rank(), distributed.get_world_size(), local_rank)
    except RuntimeError as error:
        if not any(name in str(error) for name in ("gloo", "Gloo", "NCCL", "Connection closed by peer")):
            raise
        raise UserError(
            f"Process {os.environ['RANK']} lost the others: one of them has ended, its message is above "
            f"({describe(error).splitlines()[0][:120]}). What was saved is whole: go on with --resume."
        ) from error
    distributed.destroy_process_group()


def start_processes(command, gpu_ids, arguments):
    """Run a person-reid command under torchrun, one process for each GPU of `--gpu_ids`, and wait until it ends.

    Raises UserError where a process fails; its own message stands above.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    count = len(gpu_ids.split(","))
    try:
        os.environ |= importable()
        torchrun(["--standalone", "--nproc_per_node", str(count), "-m", "person_reid", command, *arguments])
    except ChildFailedError as error:
        raise UserError(
            f"One of the {count} processes on --gpu_ids {gpu_ids} ended with an error; see above."
        ) from error

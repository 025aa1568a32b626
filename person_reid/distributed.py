"""The processes of a run, started by torchrun, and the data that they exchange.

A single process is a world of one.

torchrun --standalone --nproc_per_node 4 train_DDP.py --train_all
torchrun --standalone --nproc_per_node 4 test.py
"""

import logging
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from person_reid.device import select_device
from person_reid.errors import UserError, first_line
from person_reid.files import importable

log = logging.getLogger(__name__)
PATIENCE = timedelta(days=7)
UNANSWERED = 15  # seconds until the first machine is presumed to have ended
ENDED = "ended"  # the key under which a process announces its end
Values = TypeVar("Values", torch.Tensor, npt.NDArray[Any])
Result = TypeVar("Result")


class World:
    """The processes of a run, as seen by one of them.

    rank: this process's number in 0..size-1. local_rank: its number on this machine.
    patient: the process group for waiting while one process works alone, or None for the usual
    group.
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        local_rank: int = 0,
        patient: Any = None,
    ) -> None:
        self.rank = rank
        self.is_main = rank == 0  # it is the one process that prints and writes files
        self.size = size
        self.local_rank = local_rank
        self.patient = patient

    def gpu(self, gpu_ids: str) -> str:
        """Return this process's entry in `--gpu_ids`, as text; process n gets the nth entry.

        A single number stands for as many GPUs as this machine has processes; -1 is the CPU. A
        single process takes the first GPU, and logs it if there are others.

        Raises UserError if several GPUs are named, but fewer than there are processes.
        """
        numbers = gpu_ids.split(",")
        if self.size == 1 or gpu_ids.strip() == "-1":
            if len(numbers) > 1:
                log.warning(
                    "--gpu_ids %s: one process uses one GPU, the first of them. torchrun starts "
                    "one for each.",
                    gpu_ids,
                )
            return numbers[0]
        if len(numbers) == 1:
            return str(self.local_rank)
        if self.local_rank >= len(numbers):
            raise UserError(
                f"gpu_ids={gpu_ids}: {len(numbers)} GPUs for at least {self.local_rank + 1} "
                "processes. Name one for each process, or start fewer: --nproc_per_node "
                f"{len(numbers)}."
            )
        return numbers[self.local_rank]

    def device(self, gpu_ids: str) -> torch.device:
        """Return the device of this process."""
        return select_device(self.gpu(gpu_ids))

    def sum(self, values: Values) -> Values:
        """Return the sum of a tensor or an array over all processes, the same on each process."""
        if self.size == 1:
            return values
        total = torch.as_tensor(values).clone()
        distributed.all_reduce(total)
        return total.numpy() if isinstance(values, np.ndarray) else total

    def shard(self, images: Any) -> Any:
        """Return this rank's strided slice of a bank, list or array.

        `gather_shards` puts the results back in order.
        """
        return images[self.rank :: self.size]

    def part(self, count: int) -> tuple[int, int]:
        """Return (start, stop) of this process's part of `count` items.

        The parts of all processes cover the items.
        """
        return count * self.rank // self.size, count * (self.rank + 1) // self.size

    def gather_shards(self, shard: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
        """Return, on each process, the array (count, …) that the processes hold in shards.

        It takes the memory of the array and of one more shard.
        """
        if self.size == 1:
            return shard
        whole = np.empty((count, *shard.shape[1:]), shard.dtype)
        for rank in range(self.size):
            part = torch.from_numpy(
                np.ascontiguousarray(shard if rank == self.rank else whole[rank :: self.size])
            )
            distributed.broadcast(part, rank)
            whole[rank :: self.size] = part.numpy()
        return whole

    def from_leader(self, read: Callable[[], Result]) -> Result:
        """Return on each process what a function returns on the first, such as a file's content.

        The other processes need not have the file. A UserError on the first is raised on all.
        """
        if self.size == 1:
            return read()
        answer: list[Any] = [None, None]
        if self.is_main:
            try:
                answer[0] = read()
            except UserError as error:
                answer[1] = error
        distributed.broadcast_object_list(answer, 0, device=torch.device("cpu"))
        if answer[1]:
            raise answer[1]
        return answer[0]

    def broadcast_(self, tensors: Iterable[torch.Tensor]) -> None:
        """Copy the values of the first process into these tensors, in place."""
        for tensor in tensors if self.size > 1 else ():
            distributed.broadcast(tensor, 0)

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the tensors (B, …) of all processes as (size · B, …), ordered by rank.

        Differentiable: each process receives the sum of all processes' gradients for its part.
        """
        return tensor if self.size == 1 else Gather.apply(tensor)

    def wait(self) -> None:
        """Wait until all processes arrive here, however long one of them works alone."""
        if self.size > 1:
            distributed.all_reduce(torch.zeros(1), group=self.patient)

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Run a block on the first process before the others enter it.

        The others then find what it wrote.
        """
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()


class Gather(torch.autograd.Function):
    """Implement World.gather.

    torch.distributed.nn also has an all_gather, but it is deprecated and cannot be compiled.
    """

    @staticmethod
    def forward(context: Any, tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.contiguous()
        parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, tensor)
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total.chunk(distributed.get_world_size())[distributed.get_rank()]


@contextmanager
def join_world(gpu_ids: str = "-1") -> Iterator[World]:
    """Join the other processes and yield the World.

    It is a world of one if torchrun did not start this process.

    The processes communicate through NCCL if each has a GPU, else through gloo. They end if
    torchrun is killed.

    Raises UserError if the variables that torchrun sets are incomplete.
    """
    if "LOCAL_RANK" not in os.environ:
        yield World()
        return
    # torchrun is the parent, not a shell that may end before its programs
    if distributed.is_torchelastic_launched():
        Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    local_rank = int(os.environ["LOCAL_RANK"])
    on_gpus = gpu_ids.strip() != "-1" and torch.cuda.is_available()
    store, rank, size = _store()
    store.set(f"here {rank}", "")
    while not store.check([f"here {each}" for each in range(size)]):
        if store.check([ENDED]):
            raise UserError("A process of another machine has ended; its message is there.")
        time.sleep(0.1)
    backend = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    # The usual limit of half an hour detects processes that hang; a data set may take longer to
    # decode, and a teacher to extract.
    patient = distributed.new_group(backend="gloo", timeout=PATIENCE)
    # In dimensions of length 1, a gradient's strides may differ from its copy's in DDP. The memory
    # is the same, but PyTorch warns about lost speed.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    if rank:  # the first process logs what all of them find
        logging.getLogger("person_reid").setLevel(logging.ERROR)
    try:
        yield World(rank, size, local_rank, patient)
    except RuntimeError as error:
        if not any(
            name in str(error) for name in ("gloo", "Gloo", "NCCL", "Connection closed by peer")
        ):
            raise
        raise UserError(
            f"Process {rank} lost the others: one of them has ended; its message is above "
            f"({first_line(error, 120)}). What was saved is complete: continue with --resume."
        ) from error
    distributed.destroy_process_group()


def _store() -> tuple[Any, int, int]:
    """Return the store shared by all processes, this process's rank, and the number of processes.

    Raises UserError if torchrun on the first machine, which keeps the store, has ended.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        try:
            socket.create_connection(place, UNANSWERED).close()
        except OSError as error:
            raise UserError(
                f"The first machine does not answer any more ({first_line(error, 120)}). If its "
                "training has ended, the message is there."
            ) from error
    store, rank, size = next(rendezvous("env://"))
    # A restarted process must not find the addresses of processes that have ended: PyTorch keeps
    # both in one store.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)
    return PrefixStore(f"attempt {attempt}", store), rank, size


def end_others() -> None:
    """Tell the processes on other machines, waiting in join_world, that this process is ending."""
    with suppress(UserError, RuntimeError, ValueError):  # they may have ended before
        _store()[0].set(ENDED, "")


def _end_with(parent: int) -> None:
    """End this process within a second of its parent's end.

    Nothing else ends it once `kill -9` has ended torchrun. All files are written whole or not at
    all, so it may end at any moment. Windows keeps the number of a parent that has ended, so there
    this waits forever.
    """
    while os.getppid() == parent:
        time.sleep(0.5)
    try:
        log.error(
            "torchrun has ended, so this process also ends. "
            "What was saved is complete: continue with --resume."
        )
    finally:  # even if nobody reads the message any more
        os._exit(1)


def start_processes(script: str, gpu_ids: str, arguments: Sequence[str]) -> None:
    """Run a script in one process for each GPU of `--gpu_ids`, as run_processes does.

    script: the script's file, so that a copy of train.py starts itself. An installed command is
        started by its name, which its messages then contain.
    """
    count = str(len(gpu_ids.split(",")))
    program, _, command = sys.argv[0].partition(" ")
    named = program == "person-reid" and Path(script).stem == command
    started = ["-m", "person_reid", command] if named else [script]
    os.environ |= importable()
    run_processes(["--standalone", "--nproc_per_node", count, *started, *arguments])


def run_processes(words: Sequence[str]) -> None:
    """Run processes as torchrun would with these arguments, and wait until they end.

    Raises UserError if a process fails, after the process has printed its own message. Ctrl-C
    raises KeyboardInterrupt.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    for name in ("elastic", "run"):  # their remarks tell a user nothing useful
        logging.getLogger(f"torch.distributed.{name}").setLevel(logging.ERROR)
    try:
        torchrun(list(words))
    except ChildFailedError as error:
        raise UserError("A process ended with the error above.") from error
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from error
        sys.exit(128 + error.sigval)

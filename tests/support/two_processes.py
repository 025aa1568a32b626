"""Two processes of one run, as torchrun starts them.

On Linux they are forks, which have imported PyTorch already; torchrun imports it three times.
"""

import multiprocessing
import os
import socket
import sys
import threading
from typing import Any

from tqdm import tqdm


def two_processes(act, *places):
    """Call act(place) in two processes that know each other, and return what each returned.

    places: one for each. What is returned has to fit into a pipe, with 64 KiB.
    """
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    pipes = [context.Pipe(duplex=False) for _ in places]
    processes = [
        context.Process(target=_act, args=(act, place, rank, port, pipe))
        for rank, (place, (_, pipe)) in enumerate(zip(places, pipes, strict=True))
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0, 0]
    return [here.recv() for here, _ in pipes]


def _act(act, place, rank, port, pipe):
    tqdm.set_lock(threading.RLock())  # the other lock is that of the process that was forked
    named = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in named.items()}
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    pipe.send(act(place))

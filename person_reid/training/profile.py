"""Profile training steps: `--profile`."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

log = logging.getLogger(__name__)
WAIT, WARM_UP, STEPS = 5, 2, 10  # steps before the profiler starts, steps it discards, steps it records


@contextmanager
def step_profiler(wanted: bool, folder: Path) -> Iterator[Callable[[], None] | None]:
    """Yield a function to call after every step, or None if no profile is wanted.

    After 17 steps, write folder/trace.json, for chrome://tracing or ui.perfetto.dev, and log the slowest operators. A
    training that ends before it records a step leaves no trace, and the log says so.
    """
    if not wanted:
        yield None
        return
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # above its errors: without a GPU, it reports one
    on_gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]

    reported = []

    def report(profiler: profile) -> None:
        reported.append(True)
        folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(folder / "trace.json"))
        order = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
        log.info(profiler.key_averages().table(sort_by=order, row_limit=15))
        log.info("%s: %d steps; open it in chrome://tracing or ui.perfetto.dev", folder / "trace.json", STEPS)

    plan = schedule(wait=WAIT, warmup=WARM_UP, active=STEPS, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=report) as profiler:
        yield profiler.step
    if not reported:
        log.warning("--profile: no trace. It begins after %d steps, and the training had no more.", WAIT + WARM_UP)

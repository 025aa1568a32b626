"""Where the time of a training step goes: `--profile`."""

import logging
from contextlib import contextmanager

import torch
from torch.profiler import ProfilerActivity, profile, schedule

log = logging.getLogger(__name__)
WAIT, WARM_UP, STEPS = 5, 2, 10  # steps before the profiler starts, that it leaves out, and that it records


@contextmanager
def step_profiler(wanted, folder):
    """Yield what to call after every step, or None where no profile is wanted.

    After 17 steps folder/trace.json is there, to look at in chrome://tracing or ui.perfetto.dev, and the operators that
    took longest are logged.
    """
    if not wanted:
        yield None
        return
    on_gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]

    def report(profiler):
        folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(folder / "trace.json"))
        order = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
        log.info(profiler.key_averages().table(sort_by=order, row_limit=15))
        log.info("%s: %d steps; open it in chrome://tracing or ui.perfetto.dev", folder / "trace.json", STEPS)

    plan = schedule(wait=WAIT, warmup=WARM_UP, active=STEPS, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=report) as profiler:
        yield profiler.step

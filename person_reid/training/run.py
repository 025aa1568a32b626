"""A training run from the options to the last checkpoint."""

import os
import signal
import sys
import threading
from contextlib import contextmanager, nullcontext

from person_reid.basics import UserError, atomic_write
from person_reid.cli.options import options_file, save_options
from person_reid.distributed import World
from person_reid.models.factory import parameter_count
from person_reid.run_folder import RunFolder, check_run_name
from person_reid.show.curves import draw_curves
from person_reid.training.profile import step_profiler
from person_reid.training.setup import set_up
from person_reid.training.trainer import NotFinite, Stopped
from person_reid.training.writers import check_writers, open_writers
from person_reid.versions import versions

CHECKPOINT_EVERY = 10  # epochs
STOPPED = 128 + signal.SIGTERM  # the exit status of a process that a signal ended


def run_training(options, world=None):
    """Train as the options say; returns the RunFolder. Everything is checked and decoded before anything is written.

    world: the processes that train together; the first of them prints and writes.
    """
    world = world or World()
    check_run_name(options.name)
    check_writers(options)
    run = RunFolder(options.name)
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0  # by torchrun, after a process had died
    state = run.load_state(world.device(options.gpu_ids)) if options.resume or restarted else None
    with step_profiler(options.profile and world.leads, run.path) as after_step:
        setup = set_up(options, world, state, after_step)
        trainer, split = setup.trainer, setup.split
        if world.leads:
            if state:
                print(f"{run.path}: going on after epoch {trainer.epoch}, batch {trainer.step}.")
            else:
                run.set_aside()
                save_options(options, options_file(options.name))
            run.save_versions({"epoch": trainer.epoch, **versions()}, goes_on=state is not None)
            processes = f", {world.size} processes" if world.size > 1 else ""
            print(
                f"{options.backbone}, {parameter_count(trainer.network) / 1e6:.2f} M parameters; {len(split)} images "
                f"of {len(split.classes)} identities; {options.total_epoch} epochs on {trainer.device}{processes}.",
                flush=True,
            )
        world.wait()
        try:
            _fit(setup, run, options)
        except NotFinite as error:
            raise UserError(_not_finite(error, trainer, split, run)) from error
    return run


def _fit(setup, run, options):
    """The epochs that are left, and what is written after each: resume.pth after the checkpoints that it promises."""
    trainer, leads = setup.trainer, setup.trainer.world.leads
    writers = open_writers(options, run.path, trainer.history) if leads else nullcontext(lambda record: None)
    with stop_signal() as stop, writers as write:
        while trainer.epoch < options.total_epoch:
            try:
                record = trainer.train_epoch(stop)
            except Stopped:
                _save_and_exit(trainer, run)
            record |= _measure(setup, options)
            record = {"epoch": trainer.epoch, **{name: float(f"{value:.6g}") for name, value in record.items()}}
            trainer.history.append(record)
            if leads:
                _write_epoch(trainer, run, options)
                print(_line(record, options.total_epoch), flush=True)
                write(record)
        if trainer.average is not None:
            if leads:
                run.save_weights("average", trainer.average.state_dict())
            averaged = trainer.averaged_statistics()
            if leads:
                run.save_weights("average_bn", averaged)
    if leads:
        print(f"Done: {run.path}/net_last.pth. Test it: python test.py --name {run.name}")


def _measure(setup, options):
    """What is known of the network after an epoch beside its training: validation and, where due, evaluation."""
    trainer, found = setup.trainer, dict[str, float]()
    if setup.validation:
        found |= trainer.validate(*setup.validation)
    if setup.evaluation and (trainer.epoch % options.eval_every == 0 or trainer.epoch == options.total_epoch):
        found |= setup.evaluation(trainer.network, trainer.device, options.batchsize, trainer.world)
    return found


def _write_epoch(trainer, run, options):
    weights = trainer.network.state_dict()
    if trainer.epoch % CHECKPOINT_EVERY == 0:
        run.save_weights(trainer.epoch, weights)
    run.save_weights("last", weights)
    run.save_state(trainer.state_dict())
    run.save_log(trainer.history)
    if options.keep:
        run.keep_latest(options.keep)
    draw_curves(trainer.history, run.path / "train.jpg")


def _save_and_exit(trainer, run):
    """What happens on SIGTERM, which a cluster sends to a job before it takes the machine away."""
    if trainer.world.leads:
        run.save_state(trainer.state_dict())
        print(
            f"Stopped by SIGTERM in epoch {trainer.epoch + 1} after batch {trainer.step}; {run.state_file} holds it. "
            "Go on: the same command with --resume.",
            flush=True,
        )
    trainer.world.wait()
    sys.exit(STOPPED)


@contextmanager
def stop_signal():
    """Yield a function that says whether SIGTERM has come; it ends the process at its next safe moment, not at once."""
    received: list = []
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handler
        yield lambda: False
        return
    before = signal.signal(signal.SIGTERM, lambda *_: received.append(True))
    try:
        yield lambda: bool(received)
    finally:
        signal.signal(signal.SIGTERM, before)


def _not_finite(error, trainer, split, run):
    """What to tell about a loss that is no number; the images of its batch go to model/NAME/not_finite.txt."""
    batch = next(batch for step, batch in enumerate(trainer.sampler.batches(error.epoch)) if step == error.step)
    listing = run.path / "not_finite.txt"
    with atomic_write(listing, shared=True) as temporary:
        temporary.write_text("".join(f"{split.paths[index]}\n" for index in batch))
    good = f"{run.path}/net_last.pth is of epoch {error.epoch}" if error.epoch else "No epoch was finished"
    return (
        f"{error} Its {len(batch)} images, {split.paths[batch[0]]} among them, are listed in {listing}. {good}. Try a "
        "lower --lr, a --warm_epoch, or --bf16 in place of --fp16, and begin again or go on with --resume."
    )


def _line(record, total):
    """One line of the log for people."""
    text = f"epoch {record['epoch']}/{total}  loss {record['loss']:.4f}  error {record['error']:.2%}"
    if "val_loss" in record:
        text += f"  val loss {record['val_loss']:.4f}  val error {record['val_error']:.2%}"
    if "mAP" in record:
        text += f"  Rank@1 {record['rank1']:.2%}  mAP {record['mAP']:.2%}"
    return f"{text}  lr {record['lr']:.2e}  {record['images_per_second']:.0f} images/s"

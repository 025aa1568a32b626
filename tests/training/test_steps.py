"""Stops within an epoch, accumulated batches, compiled steps, fused layers, losses not finite."""

import contextlib
import copy
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from person_reid.config.train import OptimizerOptions
from person_reid.data.samplers import PKSampler
from person_reid.device import memory_format
from person_reid.distributed import World
from person_reid.fused.layers import FusedLiteConv3x3, library
from person_reid.run_folder import RunFolder
from person_reid.training.build import check_run
from person_reid.training.step import prepare_modules
from person_reid.training.training_images import Batch, TrainingImages
from person_reid.training.training_run import NotFinite, Run, Stopped, not_finite_advice
from person_reid.training.validation import validate
from tests.support.runs import equal_weights, weights
from tests.support.small_training import (
    CPU,
    IMAGES,
    made_split,
    run,
    small_data,
    trained_as,
    trainer,
    without_numbers,
)


def sampled(split, *flags, world=None):
    """The images of a training with these flags."""
    return TrainingImages(
        [(Path("made/train"), split)], trained_as(*flags, "--weights", "none"), CPU, world
    )


def test_only_batches_that_mix_cameras_know_them():
    split = made_split(np.arange(48) % 4, np.arange(48) // 4 % 3)
    for name, cameras in (("pk", None), ("pk_camera", split.cameras)):
        images = sampled(split, "--sampler", name, "--batchsize", "8", "--instances", "2")
        expected = PKSampler(split.targets, 8, 2, 0, cameras)
        for batch, wanted in zip(images.sampler.batches(0), expected.batches(0), strict=True):
            assert torch.equal(batch, wanted)


def test_the_pairs_of_a_batch_are_those_of_all_processes(caplog):
    with caplog.at_level("INFO"):
        sampled(made_split(np.arange(64) // 2), "--triplet", "--batchsize", "8", world=World(0, 2))
    # 16 · 15 / 2 pairs, each of one in 63
    assert "A shuffled batch of 16 images holds 1.9 pairs" in caplog.text


@pytest.mark.parametrize(("images_of_one", "said"), [(12, False), (40, True)])
def test_an_epoch_much_longer_than_the_images_is_said(images_of_one, said, caplog):
    targets = np.repeat(np.arange(9), [images_of_one, *[4] * 8])
    images = sampled(made_split(targets), "--sampler", "pk", "--batchsize", "16")
    shown = 16 * len(images.sampler)
    assert (shown > 1.5 * len(targets)) == said
    told = f"An epoch shows {shown} images, {shown / len(targets):.1f} times as many as there are"
    assert (told in caplog.text) == said


def test_an_epoch_that_few_images_of_each_identity_lengthen_is_not_blamed_on_the_largest(caplog):
    targets = np.arange(200) // 2
    images = sampled(made_split(targets), "--sampler", "pk", "--batchsize", "16")
    assert 16 * len(images.sampler) == 2 * len(targets)
    assert "An epoch shows" not in caplog.text


def test_an_example_is_as_large_as_a_batch():
    images = sampled(made_split(np.arange(12) % 3), "--batchsize", "4")
    images.bank = torch.zeros(12, 16, 8, 3, dtype=torch.uint8)
    assert len(images.example_batch()) == 4


@pytest.mark.parametrize("flags", [[], ["--sampler", "pk"]])
def test_any_process_names_the_images_of_all_in_a_step(flags):
    split = made_split(np.arange(64) // 4)
    worlds = [sampled(split, "--batchsize", "8", *flags, world=World(rank, 2)) for rank in range(2)]
    batches = [list(images.sampler.batches(3))[1] for images in worlds]
    expected = [split.paths[index] for index in torch.cat(batches)]
    for rank, images in enumerate(worlds):
        assert images.paths_of(3, 1) == expected
        assert images.sampler.rank == rank


def test_norms_that_one_gpu_synchronises_are_remarked_upon(caplog, here):
    images = sampled(made_split(np.arange(64) // 2))
    images.device = torch.device("cuda")
    check_run(replace(trained_as("--weights", "none"), sync_bn=True), images)
    assert "--sync_bn changes nothing: one process has the whole batch" in caplog.text


def test_nothing_is_learnt_in_channels_last_on_apples_gpu(monkeypatch):
    """There, batch norm and pooling have wrong gradients in channels_last."""
    for room in ("training.step", "retrieval.features"):
        monkeypatch.setattr(
            f"person_reid.{room}.memory_format",
            lambda _, network: memory_format(torch.device("mps"), network),
        )
    trained, seen = trainer(), []

    def note(module, images):
        seen.append(images[0].is_contiguous())

    for module in trained.network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_pre_hook(note)
    trained.train_epoch()
    assert seen
    assert all(seen)


def test_a_loss_that_is_not_finite_names_the_batch():
    trained = trainer()
    step = trained.step
    trained.step = lambda batch: step(without_numbers(batch) if batch.step == 1 else batch)
    with pytest.raises(NotFinite, match=r"not finite in epoch 1, batch 2") as error:
        trained.train_epoch()
    assert trained.journal.epoch == 0
    assert (error.value.epoch, error.value.step) == (0, 1)


def test_a_loss_that_is_not_finite_is_not_saved_by_a_stop():
    trained = trainer()
    step = trained.step
    trained.step = lambda batch: step(without_numbers(batch))
    with pytest.raises(NotFinite):
        trained.train_epoch(stop=lambda: True)


def test_images_whose_names_are_not_utf8_are_listed_too(here):
    trained = trainer()
    trained.images.split.paths[:] = [Path(os.fsdecode(b"people/\xff.jpg"))] * IMAGES
    journal = Run(trained.step, replace(trained.config, name="broken"))
    message = str(journal.not_finite(NotFinite(0, 0)))
    assert "8 images" in message
    assert "No epoch was finished" in message
    assert "16" not in message
    assert journal.folder.not_finite.read_bytes() == b"people/\xff.jpg\n" * 8


def test_every_tenth_epoch_and_a_stop_are_saved_and_the_end_is_said(here, monkeypatch, caplog):
    """Each epoch counts one update."""
    caplog.set_level(logging.INFO, "person_reid")
    monkeypatch.setattr("person_reid.show.charts.draw_curves", lambda *_: None)
    trained = trainer(total=11)
    journal = Run(trained.step, replace(trained.config, name="many"))
    update = trained.step(next(iter(trained.images.epoch(0))))
    for _ in journal.epochs():
        journal.count(update)
        if journal.epoch == 10:
            journal.save_stopped()
            assert weights("many", "resume.pth")["step"] == journal.step > 0
        journal.save({})
    journal.conclude()
    written = sorted(path.stem for path in journal.folder.path.glob("net_*.pth"))
    assert written == ["net_010", "net_last"]
    assert "net_last.pth. Test it: python test.py --name many" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("dtype", "words"),
    [(torch.float16, "--bf16 instead of --fp16"), (torch.bfloat16, "--lr, no --bf16, or")],
)
def test_the_advice_on_a_loss_that_is_not_finite_depends_on_the_precision(dtype, words, here):
    message = not_finite_advice(NotFinite(0, 0), [Path("a.jpg")], RunFolder("broken"), dtype)
    assert words in message
    assert message.count("--bf16") == 1


def test_an_adaptation_is_begun_again_from_the_run(here):
    message = not_finite_advice(NotFinite(1, 0), [Path("a.jpg")], RunFolder("broken"), adapts=True)
    assert message.endswith("add --from broken --name OTHER.")
    assert "--weights" not in message


class Third(World):
    """The last of three processes, which keeps its own sums."""

    def __init__(self):
        super().__init__(rank=2, size=3)

    def sum(self, values):
        return values

    def broadcast_(self, tensors):
        pass


@pytest.mark.parametrize("images", [1, 2])
def test_a_process_without_images_to_validate_adds_nothing(images):
    bank, targets = small_data()
    trained = trainer()
    trained.images.validation = bank[:images], targets[:images]
    assert validate(trained.step)["val_loss"] > 0
    trained.step.world = Third()
    assert validate(trained.step) == {"val_loss": 0.0, "val_error": 0.0}


def test_a_gpu_records_steps_that_nothing_else_interferes_with():
    step = trainer().step
    assert not step._recorded()  # on a processor
    step.device = torch.device("cuda")
    assert step._recorded()
    options = step.options
    for changed in (replace(options, accumulate=2), replace(options, compile="default")):
        step.options = changed
        assert not step._recorded()
    step.options, step.records = options, False
    assert not step._recorded()


def test_several_processes_ask_for_a_stop_at_the_first_update_after_every_tenth_step():
    journal = trainer("--accumulate", "4").journal
    journal.world = Third()
    journal.losses = torch.zeros(24)
    journal.should_stop = lambda: True
    answers = {}
    for journal.step in (4, 8, 12, 16, 20):
        answers[journal.step] = journal._agreed_to_stop()
    assert answers == {4: False, 8: False, 12: True, 16: False, 20: True}


def test_the_loss_of_a_short_epoch_is_read_once():
    """Reading it makes the host wait for the accelerator."""
    trained = trainer()
    journal, times = trained.journal, []
    read = journal._read

    def count(*arguments, **settings):
        times.append(journal.step)
        return read(*arguments, **settings)

    journal._read = count
    trained.train_epoch()
    assert times == [3]
    assert len(trained.images) == 3


@pytest.mark.parametrize(
    "flags", [["--erasing_p", "0.5"], ["--wa", "--accumulate", "2"], ["--arcface", "--adv", "0.1"]]
)
def test_a_run_stopped_within_its_epochs_ends_with_the_same_weights(flags):
    """Stopped after every update, through a copy of the state, each time into a new trainer."""
    whole = run(trainer(*flags))
    state, part = None, trainer(*flags)
    while part.journal.epoch < 3:
        part = trainer(*flags)
        if state:
            part.load_state_dict(state)
        with contextlib.suppress(Stopped):
            part.train_epoch(stop=lambda: True)
        state = copy.deepcopy(part.state_dict())
    assert equal_weights(whole.network.state_dict(), part.network.state_dict())
    assert [record["loss"] for record in part.history] == pytest.approx(
        [record["loss"] for record in whole.history]
    )


def test_the_time_of_an_epoch_is_that_of_all_its_parts(monkeypatch):
    """Not the speed of its last part, in which a compiled run compiles again, times its length."""
    clock = 0.0
    monkeypatch.setattr("person_reid.training.training_run.time.perf_counter", lambda: clock)

    def timed(trained, *seconds):
        step, durations = trained.step, iter(seconds)

        def slow_step(batch):
            nonlocal clock
            clock += next(durations)
            return step(batch)

        trained.step = slow_step
        return trained

    stopped, resumed = timed(trainer(), 10.0), timed(trainer(), 1.0, 2.0)
    with pytest.raises(Stopped):
        stopped.train_epoch(stop=lambda: True)
    clock += 1000
    resumed.load_state_dict(copy.deepcopy(stopped.state_dict()))
    record = resumed.train_epoch()
    assert [record["seconds"], resumed.journal.spent] == [13.0, 0.0]
    # The speed counts the two steps after the stop.
    assert record["images_per_second"] == pytest.approx(2 * 8 / 3, abs=0.1)


def without_batch_norm(trained):
    """Let batch norms and dropout compute as in evaluation, though the network is in training."""
    trained.step.begin_epoch(0)
    for module in list(trained.network.modules())[1:]:
        module.eval()


def part_of(batch, part, step):
    images, targets, indices = (values[part] for values in batch[:3])
    return Batch(images, targets, indices, batch.epoch, step, batch.seed)


def test_accumulated_batches_are_one_large_batch():
    """Without batch norm and augmentation, two batches of 4 and an update are one batch of 8."""
    large = trainer("--batchsize", "8", total=1)
    small = trainer("--batchsize", "4", "--accumulate", "2", total=1)
    assert len(small.images) == 2 * len(large.images)
    batch = next(large.images.epoch(0))
    for trained in (large, small):
        without_batch_norm(trained)
    large.step(batch)
    before = copy.deepcopy(small.network.state_dict())
    small.step(part_of(batch, slice(4), step=0))
    assert equal_weights(before, small.network.state_dict())
    small.step(part_of(batch, slice(4, None), step=1))
    for first, second in zip(large.network.parameters(), small.network.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


def test_the_last_batch_of_an_epoch_counts_whole_if_it_is_alone_in_its_update():
    """Of three batches, two make an update, and the third makes another."""
    plain, accumulated = trainer(), trainer("--accumulate", "2")
    batch = next(plain.images.epoch(0))._replace(step=2)
    for trained in (plain, accumulated):
        without_batch_norm(trained)
        trained.step(batch)
    assert equal_weights(plain.network.state_dict(), accumulated.network.state_dict())


def test_a_compiled_run_trains_to_nearly_the_same_weights(monkeypatch):
    """Network and criterion are one graph.

    The slow generation of machine code is left to PyTorch's own tests.
    """
    modes = []

    def traced(module, mode, dynamic):
        modes.append((mode, dynamic))
        module._compiled_call_impl = torch.compile(
            module._call_impl, backend="eager", fullgraph=True
        )

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    plain, compiled = trainer("--arcface", total=1), trainer("--arcface", "--compile", total=1)
    for trained in (plain, compiled):
        trained.network.classifier.add_block[2].p = 0.0  # a compiled dropout draws other numbers
        run(trained)
    assert modes == [("default", False)]
    assert compiled.history[0]["loss"] == pytest.approx(plain.history[0]["loss"], rel=1e-3)
    assert compiled.network.state_dict().keys() == plain.network.state_dict().keys()


@pytest.mark.skipif(library() is None, reason="no C compiler with OpenMP")
def test_on_a_processor_the_layers_of_osnet_are_fused(caplog, monkeypatch):
    """Compiling the rest would gain nothing: fused layers take the place of --compile."""
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: pytest.fail("compiled"))
    with caplog.at_level("INFO"):
        fused, compiled = (
            trainer(*flags, total=2, backbone="osnet_x0_25") for flags in ([], ["--compile"])
        )
    assert "--compile: in float32 on a CPU, fused layers are faster" in caplog.text
    for each in (run(fused), compiled):
        assert any(isinstance(module, FusedLiteConv3x3) for module in each.network.modules())
    compiled.train_epoch()
    resumed = trainer(total=2, backbone="osnet_x0_25")
    resumed.load_state_dict(copy.deepcopy(compiled.state_dict()))
    resumed.train_epoch()
    assert equal_weights(fused.network.state_dict(), resumed.network.state_dict())


def test_other_modes_of_compilation_have_their_own_way(monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: None)
    network = trainer("--compile", "max-autotune", backbone="osnet_x0_25").network
    assert not any(isinstance(module, FusedLiteConv3x3) for module in network.modules())


@pytest.mark.usefixtures("half_precision")
def test_the_layers_of_osnet_in_half_precision_are_pytorchs():
    network = trainer("--bf16", backbone="osnet_x0_25").network
    assert not any(isinstance(module, FusedLiteConv3x3) for module in network.modules())


@pytest.mark.parametrize("mode", [None, "default", "reduce-overhead"])
def test_on_a_gpu_the_default_compilation_names_the_faster_one(mode, caplog, monkeypatch):
    """Without a GPU: the modules stay where they are."""
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, *_, **__: module)
    caplog.set_level(logging.INFO, "person_reid")
    layer: Any = torch.nn.Linear(1, 1)
    prepare_modules(layer, layer, OptimizerOptions(compile=mode), torch.device("cuda"))
    assert ("--compile reduce-overhead gains far more" in caplog.text) == (mode == "default")

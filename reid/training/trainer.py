"""The one training loop.

An epoch draws all its randomness (order of the images, augmentation, dropout) from (seed, epoch). Nothing random has to
be saved, then: a run that was killed and resumed ends with the weights of one that was not.
"""

import math
import time

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn, update_bn

from reid.data.augment import normalise
from reid.options import precision
from reid.training.batches import BatchSource
from reid.training.schedule import BACKBONE, HEAD, build_optimizer, build_scheduler
from utils import UserError, autocast, progress, seed_everything

AVERAGE_DECAY = 0.996  # of the weight averaging, a batch
AVERAGE_FROM = 0.8  # the share of the epochs after which it begins
REPORT_EVERY = 10  # batches between two readings of the loss: reading it makes the accelerator wait


class Trainer:
    """A network in training, with everything that changes from batch to batch.

    network: gives features and logits. criterion: criterion(features, logits, labels) → scalar. bank: uint8
    (N, H, W, 3); targets: (N,) int64 classes. sampler: `batches(epoch)` yields indices. augment: (bank, indices,
    generator) → (B, 3, H, W). options: of train.py. device: where all of it happens. extra_terms: what is added to the
    loss beside the criterion, each called as term(trainer, images, targets, step of the epoch) → a scalar.
    """

    def __init__(self, network, criterion, bank, targets, sampler, augment, options, device, extra_terms=()):
        self.network = network.to(device, memory_format=torch.channels_last)
        self.criterion = criterion.to(device)
        self.source = BatchSource(bank, augment, device)
        self.targets = torch.as_tensor(targets).to(device)
        self.sampler, self.options, self.device, self.extra_terms = sampler, options, device, extra_terms
        self.optimizer = build_optimizer(network, criterion, options)
        self.scheduler = build_scheduler(self.optimizer, options, len(sampler))
        self.dtype = precision(options)
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.fp16)
        self.average: AveragedModel | None = None
        self.average_criterion: AveragedModel | None = None  # of the weights that losses own
        self.history: list[dict] = []
        self.epoch = 0  # epochs finished

    def batches(self, epoch):
        """Yield the augmented images (B, 3, H, W) and targets (B,) of an epoch, both on the device."""
        generator = torch.Generator(self.device).manual_seed(self.seed_of(epoch))
        for indices in self.sampler.batches(epoch):
            yield self.source(indices, generator), self.targets[indices.to(self.device, non_blocking=True)]

    def seed_of(self, epoch):
        """The seed of all that is drawn at random in an epoch."""
        return self.options.seed * 1_000_003 + epoch

    def train_epoch(self):
        """One pass over the data; returns its mean loss, top-1 error, learning rate and speed.

        Raises UserError where the loss is no longer finite.
        """
        epoch = self.epoch
        self._set_modes(epoch)
        seed_everything(self.seed_of(epoch))  # dropout
        if self.options.wa and self.average is None and epoch >= int(AVERAGE_FROM * self.options.total_epoch):
            self._begin_average()
        started, seen = time.perf_counter(), 0
        totals = torch.zeros(2, device=self.device)  # Σ loss, Σ wrong
        with progress(total=len(self.sampler), desc=f"epoch {epoch + 1}/{self.options.total_epoch}") as bar:
            for step, (images, targets) in enumerate(self.batches(epoch)):
                loss, logits = self.train_step(images, targets, step)
                seen += len(targets)
                totals += torch.stack([loss * len(targets), (predicted(logits) != targets).sum()])
                bar.update()
                if not bar.disable and bar.n % REPORT_EVERY == 0:
                    speed = seen / (time.perf_counter() - started)
                    mean_loss, error = (totals / seen).tolist()
                    bar.set_postfix_str(f"loss {mean_loss:.3f}, accuracy {1 - error:.1%}, {speed:.0f} images/s")
        mean_loss, error = (totals / seen).tolist()
        if not math.isfinite(mean_loss):
            raise UserError(
                f"The loss is {mean_loss} in epoch {epoch + 1}. Nothing of this epoch was saved. Try a lower --lr, "
                "a --warm_epoch, or --bf16 in place of --fp16, and begin again or go on with --resume."
            )
        self.epoch += 1
        return {
            "loss": mean_loss,
            "error": error,
            "lr": self.scheduler.get_last_lr()[HEAD],
            "images_per_second": round(seen / (time.perf_counter() - started), 1),
        }

    def train_step(self, images, targets, step=0):
        """Forward, backward and update for the epoch's batch `step`; returns the loss (detached) and the logits."""
        with autocast(self.device, self.dtype):
            features, logits = self.network(images)
            loss = self.criterion(features, logits, targets)
            loss = loss + sum(term(self, images, targets, step) for term in self.extra_terms)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        if self.average is not None and self.average_criterion is not None:
            self.average.update_parameters(self.network)
            self.average_criterion.update_parameters(self.criterion)
        return loss.detach(), logits.detach()

    def _set_modes(self, epoch):
        """Training mode, but for the backbone in the first `freeze_epochs`: until then it keeps its weights and, in
        evaluation mode, its batch-norm statistics, while the schedule runs on, as with torchreid's fixbase_epoch."""
        self.network.train()
        self.criterion.train()
        backbone_learns = epoch >= self.options.freeze_epochs
        self.network.model.train(backbone_learns)
        for parameter in self.optimizer.param_groups[BACKBONE]["params"]:  # not what never learns: see _freeze_unused
            parameter.requires_grad_(backbone_learns)

    @torch.inference_mode()
    def validate(self, bank, targets):
        """Mean of the classifier's loss, without margin or smoothing, and top-1 error on unaugmented images."""
        self.network.eval()
        self.criterion.eval()
        totals = torch.zeros(2, device=self.device)
        batches = zip(bank.split(self.options.batchsize), targets.split(self.options.batchsize), strict=True)
        for images, labels in progress(batches, desc="validation", total=-(-len(bank) // self.options.batchsize)):
            labels = labels.to(self.device)
            with autocast(self.device, self.dtype):
                _, logits = self.network(normalise(images.to(self.device)))
            loss = self.criterion.classify(logits, labels) * len(labels)
            totals += torch.stack([loss, (predicted(logits) != labels).sum()])
        loss, error = (totals / len(bank)).tolist()
        return {"val_loss": loss, "val_error": error}

    def averaged_statistics(self):
        """The averaged network with batch-norm statistics of its own, from one more pass over the data."""
        assert self.average is not None, "only --wa averages"
        images = (images for images, _ in self.batches(self.epoch))
        update_bn(progress(images, desc="batch-norm statistics", total=len(self.sampler)), self.average)
        return self.average.state_dict()

    def state_dict(self):
        """All that `load_state_dict` needs to go on after the last finished epoch as if nothing had happened."""
        parts = {name: getattr(self, name).state_dict() for name in self._parts()}
        return {**parts, "epoch": self.epoch, "history": self.history}

    def load_state_dict(self, state):
        """Go on from the state that `state_dict` returned."""
        if "average" in state:
            self._begin_average()
        for name in self._parts():
            getattr(self, name).load_state_dict(state[name])
        self.epoch, self.history = state["epoch"], state["history"]

    def _parts(self):
        parts = ["network", "criterion", "optimizer", "scheduler", "scaler"]
        return parts if self.average is None else [*parts, "average", "average_criterion"]

    def _begin_average(self):
        """The moving averages of the network and of the weights that losses own, both from what they are now."""
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE_DECAY))
        self.average.eval()  # as the teacher of --DG; the average is trained by no gradient
        # Most losses own no weights, and the function of many tensors at once fails on none.
        self.average_criterion = AveragedModel(self.criterion, avg_fn=get_ema_avg_fn(AVERAGE_DECAY))


def predicted(logits):
    """The identities (B,) that logits (B, C) predict, or those (B, H, C) of H classifiers, whose probabilities add."""
    return (logits.float().softmax(2).sum(1) if logits.ndim == 3 else logits).argmax(1)

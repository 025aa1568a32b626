# PYTHON_ARGCOMPLETE_OK
"""Train a network the usual way, for comparison with the suite.

    python benchmarks/speed/usual.py --name usual --train_all --backbone osnet_x0_25 \\
      --weights none --schedule cosine
    python test.py --name usual

Uses torchvision's ImageFolder and transforms, a DataLoader with --workers processes, float32 and
channels first, and reads the loss at every step. It takes the networks and flags of train.py, but
always trains with cross entropy, SGD and one half cosine. Writes opts.yaml and net_last.pth into
model/NAME.
"""

import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn
from torchvision import transforms
from torchvision.datasets import ImageFolder

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.measure import training_of
from benchmarks.support.parser import Parser
from benchmarks.support.references import half_cosine_rates
from person_reid.console import run_script
from person_reid.device import seed_everything, select_device
from person_reid.models.factory import build_network
from person_reid.progress import progress
from person_reid.run_folder import RunFolder


class UsualTraining:
    """A network and its loader. options: train.py's. workers: processes that load images."""

    def __init__(self, options, workers):
        seed_everything(options.seed)
        self.options, self.device = options, select_device(options.gpu_ids)
        size = (options.height, options.width)
        transform = transforms.Compose(
            [
                transforms.Resize(size, interpolation=transforms.InterpolationMode.BICUBIC),
                transforms.Pad(10),
                transforms.RandomCrop(size),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )
        images = ImageFolder(
            Path(options.data_dir) / ("train_all" if options.train_all else "train"), transform
        )
        pin = self.device.type == "cuda"
        self.loader = torch.utils.data.DataLoader(
            images,
            options.batchsize,
            shuffle=True,
            num_workers=workers,
            pin_memory=pin,
            drop_last=True,
        )
        self.num_classes = len(images.classes)
        network = build_network(options, self.num_classes, options.weights)
        self.network = network.to(self.device).train()
        backbone = list(self.network.model.parameters())
        head = [
            weight
            for name, weight in self.network.named_parameters()
            if not name.startswith("model.")
        ]
        groups = [
            {"params": backbone, "lr": options.backbone_lr},
            {"params": head, "lr": options.lr},
        ]
        self.optimizer = torch.optim.SGD(
            groups, momentum=0.9, weight_decay=options.weight_decay, nesterov=True
        )
        self.criterion = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)

    def step(self, batch):
        """Train on a batch of the loader, wait, and return its loss and how many were right."""
        images, labels = (tensor.to(self.device) for tensor in batch)
        self.optimizer.zero_grad()
        _, logits = self.network(images)
        loss = self.criterion(logits, labels)
        loss.backward()
        self.optimizer.step()
        return loss.item(), (logits.argmax(1) == labels).sum().item()

    def train(self):
        """Train for all epochs and print a line for each."""
        for epoch in range(self.options.total_epoch):
            total = right = 0.0
            for step, batch in enumerate(progress(self.loader, desc=f"epoch {epoch + 1}")):
                now = half_cosine_rates(self.options, epoch, step / len(self.loader))
                for group, rate in zip(self.optimizer.param_groups, now, strict=True):
                    group["lr"] = rate
                loss, hits = self.step(batch)
                total, right = total + loss, right + hits
            error = 1 - right / (len(self.loader) * self.options.batchsize)
            print(
                f"epoch {epoch + 1}  loss {total / len(self.loader):.4f}  error {error:.2%}",
                flush=True,
            )


def main(argv=None):
    parser = Parser(__doc__, allow_abbrev=False)
    parser.add_argument(
        "--workers",
        type=int,
        default=2,
        help="processes that load images; train.py has the other flags",
    )
    own, train_flags = parser.parse_known_args(argv)
    options = training_of(train_flags)
    training = UsualTraining(options, own.workers)
    training.train()
    RunFolder(options.name).save_options({**asdict(options), "nclasses": training.num_classes})
    RunFolder(options.name).save_weights("last", training.network.state_dict())


if __name__ == "__main__":
    run_script(main)

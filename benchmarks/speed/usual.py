"""The usual training loop, for comparison with the suite: see training.py.

It uses torchvision's ImageFolder and transforms, a DataLoader with processes, float32, channels
first, cross entropy and SGD, and reads the loss at every step.
"""

from pathlib import Path

import torch
from torch import nn
from torchvision import transforms
from torchvision.datasets import ImageFolder

from person_reid.device import seed_everything, select_device
from person_reid.models.factory import build_network, input_size


class UsualTraining:
    """A network and its loader. options: as for train.py. workers: processes that load images."""

    def __init__(self, options, workers):
        seed_everything(options.seed)
        self.options, self.device = options, select_device(options.gpu_ids)
        size = input_size(options)
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
            {"params": backbone, "lr": options.learning_rates[0]},
            {"params": head, "lr": options.learning_rates[1]},
        ]
        self.optimizer = torch.optim.SGD(
            groups, momentum=0.9, weight_decay=options.weight_decay, nesterov=True
        )
        self.criterion = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)

    def step(self, batch):
        """Train on a batch, wait, and return its loss and the number of correct predictions."""
        images, labels = (tensor.to(self.device) for tensor in batch)
        self.optimizer.zero_grad()
        _, logits = self.network(images)
        loss = self.criterion(logits, labels)
        loss.backward()
        self.optimizer.step()
        return loss.item(), (logits.argmax(1) == labels).sum().item()

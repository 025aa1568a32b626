# PYTHON_ARGCOMPLETE_OK
"""Distil the last stages of an OSNet from a better network in minutes, on one core.

    python benchmarks/accuracy/last_stages.py --data_dir ../Market/pytorch --start msmt17.pth \\
      --teacher "0277.xml --bgr --range 0..255" --output people.pth

The stages up to conv3 keep their weights. They see each image once, and conv4, conv5 and the last
layer learn from what they give. Three losses add up: the cosine of the teacher's feature and a
linear map of the student's (Romero et al., FitNets, ICLR 2015), the difference of the cosines of
two images (Tung, Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019), and the soft
triplet loss of the batch's hardest images. In the end, the weights are moved back half of the way
to the start, which is better on people never seen (Wortsman et al., CVPR 2022).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.console.named_network import network_named
from person_reid.data.images.augment import normalise
from person_reid.data.images.bank import load_bank
from person_reid.data.layout import read_split
from person_reid.deploy.find import open_embedder
from person_reid.models.osnet import OSNet
from person_reid.models.weight_files import read_state_dict
from person_reid.progress import progress
from person_reid.run_folder import save_tensors

PEOPLE, IMAGES = 16, 4  # of a batch
RATE, DECAY, WARM_STEPS = 2e-3, 5e-4, 20
MAP_RATE = 5  # times the rate, for the linear map
FEATURES, COSINES, SHARPNESS = 5, 20, 10  # weights of the losses, and of the triplet's difference


def main(argv=None):
    """Train, and write the weights."""
    parser = Parser(__doc__)
    parser.add_argument("--data_dir", required=True, help="layout of prepare.py")
    parser.add_argument("--start", required=True, help="weights of OSNet x0.25")
    parser.add_argument("--teacher", required=True, help="a network, as for compare_networks.py")
    parser.add_argument("--per_person", type=int, default=12, help="most images of a person")
    parser.add_argument("--epochs", type=int, default=7, help="of the last stages")
    parser.add_argument("--share", type=float, default=0.5, help="of the way from the start")
    parser.add_argument("--seed", type=int, default=0, help="of the images and the batches")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    options = parser.parse_args(argv)
    torch.manual_seed(options.seed)
    random = np.random.default_rng(options.seed)
    split = read_split(options.data_dir, "train_all")
    every = np.array(split.labels)
    rows = [random.permutation(np.flatnonzero(every == who)) for who in np.unique(every)]
    chosen = np.sort(np.concatenate([each[: options.per_person] for each in rows]))
    bank = load_bank([split.paths[i] for i in chosen], 256, 128)
    taught = torch.from_numpy(
        open_embedder(network_named(options.teacher, "teacher", "-1")).features(bank)
    )

    start = read_state_dict(options.start)
    network = OSNet(0.25).eval()
    network.load_state_dict(start)
    *front, conv4, conv5, last = network.children()
    maps = seen_by(nn.Sequential(*front), bank, random)
    learn(nn.ModuleList([conv4, conv5, last]), maps, taught, every[chosen], options.epochs, random)
    trained = network.state_dict()
    for name, value in trained.items():
        if value.is_floating_point():
            value.copy_(torch.lerp(start[name], value, options.share))
    save_tensors(trained, options.output)


@torch.inference_mode()
def seen_by(front, bank, random):
    """Return the maps (N, C, h, w) float16 of images (N, H, W, 3), half of them mirrored."""
    maps = []
    for part in progress(bank.split(32), desc="first stages"):
        images = normalise(part)
        with torch.autocast("cpu", torch.bfloat16):
            maps.append(front(images.flip(3) if random.random() < 0.5 else images).half())
    return torch.cat(maps)


def learn(stages, maps, taught, labels, epochs, random):
    """Train the stages on maps (N, C, h, w), features (N, D) of a teacher, and labels (N,)."""
    conv4, conv5, last = stages.train()
    linear = nn.Linear(512, taught.shape[1], bias=False)
    norm = nn.BatchNorm1d(512, affine=False)
    groups = [{"params": stages.parameters(), "lr": RATE, "weight_decay": DECAY}]
    groups += [{"params": linear.parameters(), "lr": MAP_RATE * RATE}]
    steps = epochs * (len(maps) // (PEOPLE * IMAGES))
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1, (step + 1) / WARM_STEPS) * (1 + np.cos(np.pi * step / steps)) / 2,
    )
    people = np.unique(labels)
    images = {who: np.flatnonzero(labels == who) for who in people}
    for _ in progress(range(steps), desc="last stages"):
        some = random.choice(people, PEOPLE, replace=False)
        rows = np.concatenate([random.permutation(images[who])[:IMAGES] for who in some])
        with torch.autocast("cpu", torch.bfloat16):
            found = conv5(conv4(erased(maps[rows].float(), random)))
        features = last(found.float().mean((2, 3)))
        target, cosines = taught[rows], F.normalize(features) @ F.normalize(features).T
        mapped = linear(norm(features))
        loss = FEATURES * (1 - F.cosine_similarity(mapped, target)).mean()
        loss = loss + COSINES * (cosines - (target @ target.T).clamp(min=0)).square().mean()
        same = torch.from_numpy(labels[rows][:, None] == labels[rows])
        nearest = cosines.masked_fill(same, -1).amax(1) - cosines.masked_fill(~same, 2).amin(1)
        loss = loss + F.softplus(SHARPNESS * nearest).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    stages.eval()


def erased(maps, random):
    """Return maps (B, C, h, w), half of the batches mirrored, and half without a rectangle."""
    if random.random() < 0.5:
        maps = maps.flip(3)
    if random.random() < 0.5:
        high, wide = random.integers(2, 7), random.integers(2, 5)
        top = random.integers(0, maps.shape[2] - high)
        left = random.integers(0, maps.shape[3] - wide)
        maps[:, :, top : top + high, left : left + wide] = 0
    return maps


if __name__ == "__main__":
    run_script(main)

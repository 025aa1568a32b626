# PYTHON_ARGCOMPLETE_OK
"""Make the network in this package: distil the last stages of an OSNet from a better network.

    python prepare.py --synthetic --seed 11 --identities 300 --test_identities 2 --cameras 4 \\
      --data_dir drawn
    python recipes/people/osnet_x0_25_people.py --data_dirs ../Market/pytorch drawn/pytorch \\
      --start osnet_x0_25_msmt17.pth --teacher "0277.xml --bgr --range 0..255 --no_flip" \\
      --validation ../PKU-Reid/pytorch --keep features --output osnet_x0_25_people

The stages up to conv3 keep their weights. They process each image once, and conv4, conv5 and the
last layer learn from their output. Two losses are added: the cosine of the teacher's feature and a
linear map of the student's (Romero et al., FitNets, ICLR 2015), and the soft triplet loss of the
batch's hardest images. In the end, the weights are moved part of the way back to the start, which
is better for unseen people (Wortsman et al., Robust Fine-Tuning of Zero-Shot Models, CVPR 2022).

The folder --output is like one from tools/save_pretrained.py, in half precision. The people in
train_all of --validation determine the threshold for two images, which 1 % of the strangers reach,
and the cosines of tracks. The output of the teacher and the first stages is kept in --keep, for
further seeds.
"""

import sys
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from person_reid.arrays import Integers
from person_reid.console import run_script
from person_reid.console.named_network import network_named
from person_reid.console.parser import Parser
from person_reid.data.images.augment import normalise
from person_reid.data.images.bank import load_bank
from person_reid.data.layout import read_split
from person_reid.deploy.embedder import Embedder
from person_reid.deploy.find import open_embedder, tested_network
from person_reid.deploy.load import NetworkToTest
from person_reid.deploy.publish import check_output, save_pretrained
from person_reid.gallery.score_histograms import track_similarities
from person_reid.models.osnet import OSNet
from person_reid.models.weight_files import read_state_dict
from person_reid.progress import progress
from person_reid.retrieval.features import extract_split
from person_reid.retrieval.thresholds import error_rates, pair_similarities
from person_reid.retrieval.track_features import TrackCosines
from person_reid.run_folder import save_tensors

PEOPLE, IMAGES = 16, 4  # in a batch
RATE, DECAY, WARM_STEPS = 2e-3, 5e-4, 20
MAP_RATE = 5  # times the learning rate, for the linear map
FEATURES, TRIPLET = 5, 2  # weights of the losses
SHARPNESS = 10  # multiplies the triplet's difference
CHUNK = 256  # images that are decoded at a time
Images = tuple[Tensor, Tensor, Integers]


def main(argv: list[str] | None = None) -> None:
    """Train, and write the weights."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--data_dirs", nargs="+", required=True, metavar="DIR", help="layouts of prepare.py")
    add("--start", required=True, help="weights of OSNet x0.25")
    add("--teacher", required=True, help="a network, as for compare_networks.py")
    add("--per_person", type=int, default=6, help="most images of a person (default: 6)")
    add("--epochs", type=int, default=7, help="epochs of training (default: 7)")
    add("--share", type=float, default=0.75, help="share of the change to keep (default: 0.75)")
    add("--seed", type=int, default=0, help="seed of the batches (default: 0)")
    add("--keep", type=Path, required=True, metavar="DIR", help="folder for features and maps")
    add("--validation", required=True, metavar="DIR", help="layout of people for the thresholds")
    add("--output", type=Path, required=True, metavar="DIR", help="folder to write")
    options = parser.parse_args(argv)
    check_output(options.output)
    torch.manual_seed(options.seed)
    options.keep.mkdir(parents=True, exist_ok=True)

    start = read_state_dict(options.start)
    network = OSNet(0.25).eval()
    network.load_state_dict(start)
    *front, conv4, conv5, last = network.children()
    sets = [seen_by(nn.Sequential(*front), each, options) for each in options.data_dirs]
    maps, taught = (torch.cat(parts) for parts in list(zip(*sets, strict=True))[:2])
    people = [f"{number} {who}" for number, each in enumerate(sets) for who in each[2]]
    labels = np.unique(people, return_inverse=True)[1]
    random = np.random.default_rng(options.seed)
    learn(nn.ModuleList([conv4, conv5, last]), maps, taught, labels, options.epochs, random)

    trained = network.state_dict()
    for name, value in trained.items():
        if value.is_floating_point():
            value.copy_(torch.lerp(start[name], value, options.share))
    with TemporaryDirectory() as folder:
        file = Path(folder, "people.pth")
        save_tensors(trained, file)
        save(tested_network(network_named(f"osnet_x0_25={file}", "output", "-1")), options)


@torch.inference_mode()
def seen_by(front: nn.Module, data_dir: str, options: Namespace) -> Images:
    """Return float16 maps (N, C, h, w), the teacher's features (N, D), and identities (N,)."""
    split = read_split(data_dir, "train_all")
    people = [np.flatnonzero(split.labels == who) for who in np.unique(split.labels)]
    rows = np.concatenate([spread(images, options.per_person) for images in people])
    file = options.keep / f"{data_dir.strip('/').replace('/', '_')}_{len(rows)}.pth"
    if not file.exists():
        teacher = open_embedder(network_named(options.teacher, "teacher", "-1"))
        maps, taught = [], []
        for some in progress(np.split(rows, range(CHUNK, len(rows), CHUNK)), desc=data_dir):
            bank = load_bank([split.paths[i] for i in some], 256, 128)
            taught.append(torch.from_numpy(teacher.features(bank)))
            maps += [front(normalise(part)).half() for part in bank.split(32)]
        save_tensors((torch.cat(maps), torch.cat(taught)), file)
    return *torch.load(file, weights_only=True), split.labels[rows]


def spread(rows: Integers, most: int) -> Integers:
    """Return at most `most` rows, evenly spaced."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]


def learn(
    stages: nn.ModuleList,
    maps: Tensor,
    taught: Tensor,
    labels: Integers,
    epochs: int,
    random: np.random.Generator,
) -> None:
    """Train the stages on maps (N, C, h, w), a teacher's features (N, D), and labels (N,)."""
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
        some_maps = erased(maps[rows].float(), random)
        found = conv5(conv4(some_maps.contiguous(memory_format=torch.channels_last)))
        features = last(found.mean((2, 3)))
        mapped = linear(norm(features))
        loss = FEATURES * (1 - F.cosine_similarity(mapped, taught[rows])).mean()
        cosines = F.normalize(features) @ F.normalize(features).T
        same = torch.from_numpy(labels[rows][:, None] == labels[rows])
        nearest = cosines.masked_fill(same, -1).amax(1) - cosines.masked_fill(~same, 2).amin(1)
        loss = loss + TRIPLET * F.softplus(SHARPNESS * nearest).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    stages.eval()


def save(tested: NetworkToTest, options: Namespace) -> None:
    """Write the folder, with the threshold and cosines measured on the people in --validation."""
    embedder, split = Embedder(tested, device="cpu"), read_split(options.validation, "train_all")
    of = embedder.features, embedder.size
    every = extract_split(*of, split, options.validation, "train_all")
    rates = error_rates(pair_similarities(every, every), {"1e-2": 1e-2})
    save_pretrained(
        tested,
        options.output,
        threshold=rates["all_pairs"]["rules"]["1e-2"]["threshold"],
        track_cosines=TrackCosines.of(track_similarities(every, every)),
        half=True,
    )


def erased(maps: Tensor, random: np.random.Generator) -> Tensor:
    """Return maps (B, C, h, w), mirrored in half of the batches and partly erased in half."""
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

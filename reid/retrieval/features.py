"""From images to features: the network's output, summed over mirrored and resized copies, of unit length."""

import torch
from torch.fx.experimental.optimization import fuse
from torch.nn.functional import interpolate, normalize

from model import build_from_options, load_weights
from reid.data.augment import normalise
from reid.flags import NETWORK_OF_FILE, NETWORK_OF_RUN, SHAPE, given_flags, training_parser
from reid.options import PUBLISHED_CLASSES, load_run_options, resolve
from reid.training.run_folder import RunFolder
from utils import UserError, autocast, progress, seed_everything

CPU_BATCH = 32  # the most images at a time on a CPU: of a larger batch no layer's output stays in the cache


def parse_scales(text):
    """The resize factors of a `--ms` value: "1,1.1,1.2" are areas, whose square roots resize the image.

    Raises UserError for anything but numbers above 0.
    """
    try:
        areas = [float(part) for part in text.split(",")]
    except ValueError:
        areas = []
    if not areas or not all(0 < area < float("inf") for area in areas):
        raise UserError(f"--ms {text}: expected numbers above 0, separated by commas, such as 1,1.1,1.2")
    return [area**0.5 for area in areas]


def load_network(options):
    """The Network to test, with its weights, and the (height, width) of its images.

    options: with the flags of `flags.add_tested_network`, which name the run model/NAME or a weight file of
    --backbone. Raises UserError or FileNotFoundError where there is no such run, checkpoint or network, and for flags
    that would be ignored.
    """
    if options.backbone:
        return _network_of_file(options)
    if ignored := given_flags(options, NETWORK_OF_FILE):
        raise UserError(
            f"{ignored} would be ignored: model/{options.name}/opts.yaml describes the network of the run. "
            "For a weight file without a run, name its network: --backbone NAME."
        )
    run = load_run_options(options.name)
    run.height, run.width = options.height or run.height, options.width or run.width
    run.linear_num = run.linear_num if options.linear_num is None else options.linear_num
    path = RunFolder(options.name).weights_file(options.which_epoch)
    network = build_from_options(run, run.nclasses, weights="none")
    load_weights(network, path, strict=True)
    return network, (run.height, run.width)


def _network_of_file(options):
    """The same for a weight file without a run: a backbone's or, where flags ask for further layers, a whole one."""
    if ignored := given_flags(options, NETWORK_OF_RUN):
        raise UserError(f"{ignored} would be ignored: --backbone {options.backbone} is a network without a run.")
    if not options.weights:
        raise UserError(f"--backbone {options.backbone} needs --weights FILE, or none for random weights.")
    described = training_parser().parse_args(["--backbone", options.backbone])
    asked = {name: getattr(options, name) for name in (*SHAPE, "height", "width")}
    vars(described).update((name, value) for name, value in asked.items() if value is not None)
    resolve(described)
    seed_everything(options.seed)
    has_head = any(asked[name] is not None for name in ("neck", "head", "linear_num"))
    whole = has_head or bool(options.attention or options.usam)
    classes = PUBLISHED_CLASSES if has_head else None  # of the classifier, which no feature depends on
    from_file = options.weights not in ("imagenet", "none")
    network = build_from_options(described, classes, "none" if whole and from_file else options.weights)
    if whole and from_file:
        print(f"{options.weights}: {load_weights(network, options.weights, strict=True)}.")
    return network, (described.height, described.width)


def fused_embedding(network, device):
    """The module images → features of a network on `device`, in evaluation mode, each convolution fused with the batch
    norm that follows it where the network can be traced; the same numbers, sooner."""
    network.to(device, memory_format=torch.channels_last).eval()
    embedding = _Embedding(network)
    try:
        fused = fuse(embedding)
    except Exception:  # tracing fails in as many ways as networks branch; then the network runs as it is
        return embedding
    fused.pieces = embedding.pieces
    return fused


class _Embedding(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network
        self.pieces = network.pieces

    def forward(self, images):
        return self.network.embed(images)


@torch.inference_mode()
def extract_features(embed, bank, device, batch_size, scales=(1.0,), flip=True, dtype=None, description="features"):
    """Features (N, D) float32 on the CPU, L2-normalised, of a bank of N images, uint8 (N, H, W, 3).

    embed: (B, 3, H, W) → (B, D), such as fused_embedding gives; one with an attribute `pieces` has a feature of several
    pieces, each of them normalised by itself. scales: factors by which the image is resized (bicubic), always from the
    original. flip: add the mirrored image's output. dtype: of autocast, torch.float16 or torch.bfloat16; None:
    float32.

        feature = Σ_scale Σ_{image, mirrored} embed(resize(image, scale)), divided by its length
    """
    if device.type == "cpu":
        batch_size = min(batch_size, CPU_BATCH)
    features = []
    with progress(total=len(bank), desc=description, unit=" images") as bar:
        for chunk in bank.split(batch_size):
            images = normalise(chunk.to(device))
            views = [images, images.flip(3)] if flip else [images]
            with autocast(device, dtype):
                total = sum(embed(_resize(view, scale)).float() for scale in scales for view in views)
            features.append(unit_length(total, getattr(embed, "pieces", 1)).cpu())
            bar.update(len(chunk))
    return torch.cat(features).numpy()


def unit_length(features, pieces=1):
    """Features (B, D) at length 1; with several pieces, (B, D / pieces, pieces) flattened, each at length 1/√pieces."""
    return normalize(features.unflatten(1, (-1, pieces)), dim=1).flatten(1) / pieces**0.5


def _resize(images, scale):
    if scale == 1:
        return images
    return interpolate(images, scale_factor=scale, mode="bicubic", align_corners=False)

"""data/images/augment.py against torchvision image by image, and statistics of the draws."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional

from person_reid.config import FitOptions
from person_reid.data.images import augment as augment_module
from person_reid.data.images.augment import MEAN, STD, Augment, normalise, pad_crop_flip, translate
from person_reid.data.images.bank import load_bank

SHARES = ("autoaugment_p", "cutout_p", "lgt_p", "grayscale_erasing_p", "translation_p")
ALL: dict = {"erasing_p": 0.5, "color_jitter": True, **dict.fromkeys(SHARES, 0.5)}
DEVICES = (
    ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
)
TO_TENSOR = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
PUBLISHED_EVALUATION = transforms.Compose(
    [transforms.Resize((256, 128), interpolation=transforms.InterpolationMode.BICUBIC), TO_TENSOR]
)


def noise(*shape, seed=0):
    return torch.randint(
        256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def generator(seed=0, device="cpu"):
    return torch.Generator(device).manual_seed(seed)


def test_normalise_has_the_bits_of_torchvision():
    every_value = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3)
    for images in (every_value, noise(5, 31, 17, 3), noise(2, 40, 20, 3)[:, ::2, 3:]):
        expected = torch.stack([TO_TENSOR(Image.fromarray(image.numpy())) for image in images])
        result = normalise(images)
        assert result.dtype == torch.float32
        assert torch.equal(result, expected)
        assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("device", DEVICES[1:])
def test_normalise_has_the_same_bits_on_every_device(device):
    assert torch.equal(
        normalise(noise(4, 32, 16, 3).to(device)).cpu(), normalise(noise(4, 32, 16, 3))
    )


def test_normalise_in_inference_mode_does_not_spoil_training():
    augment_module._statistics.cache_clear()
    with torch.inference_mode():
        normalise(noise(1, 8, 4, 3))
    layer = torch.nn.Conv2d(3, 1, 3)
    layer(normalise(noise(1, 8, 4, 3))).sum().backward()
    assert layer.weight.grad is not None


def test_evaluation_path_equals_torchvisions_on_real_photographs(real_people):
    paths = sorted((real_people / "bounding_box_test").glob("*.jpg"))[::40]
    expected = torch.stack([PUBLISHED_EVALUATION(Image.open(path)) for path in paths])
    assert torch.equal(normalise(load_bank(paths, 256, 128)), expected)


@pytest.mark.parametrize("padding", [0, 3, 10])
@pytest.mark.parametrize("size", [(32, 16), (20, 10)])
def test_pad_crop_flip_equals_torchvision(padding, size):
    images = noise(40, 32, 16, 3)
    tops = torch.randint(32 + 2 * padding - size[0] + 1, (40,), generator=generator(1))
    lefts = torch.randint(16 + 2 * padding - size[1] + 1, (40,), generator=generator(2))
    flips = torch.rand(40, generator=generator(3)) < 0.5
    result = pad_crop_flip(images, size, padding, tops, lefts, flips)
    for image, top, left, flip, ours in zip(
        images.permute(0, 3, 1, 2), tops, lefts, flips, result, strict=True
    ):
        expected = functional.crop(functional.pad(image, [padding]), int(top), int(left), *size)
        expected = functional.hflip(expected) if flip else expected
        assert torch.equal(ours.permute(2, 0, 1), expected)


def test_colour_jitter_draws_for_each_image_and_stays_within_ten_percent(monkeypatch):
    drawn = []

    def record(images, *factors):
        drawn.append(factors)
        return images

    monkeypatch.setattr(augment_module, "adjust_colours", record)
    Augment(4, 2, color_jitter=True)(
        noise(1, 4, 2, 3), torch.zeros(2000, dtype=torch.int64), generator()
    )
    for factor in drawn[0]:
        assert 0.9 <= factor.min() < 0.901
        assert 1.099 < factor.max() <= 1.1
        assert abs(factor.mean() - 1) < 0.005
    assert abs(np.corrcoef(torch.stack(drawn[0]))[np.triu_indices(3, 1)]).max() < 0.1


def test_padding_stays_black_under_colour_jitter():
    white = torch.full((1, 24, 12, 3), 255, dtype=torch.uint8)
    images = Augment(24, 12, color_jitter=True)(
        white, torch.zeros(200, dtype=torch.int64), generator()
    )
    black = normalise(torch.zeros(1, 1, 1, 3, dtype=torch.uint8))
    is_black = (images == black).all(1)
    is_bright = (images > normalise(torch.full((1, 1, 1, 3), 220, dtype=torch.uint8))).all(1)
    assert (is_black | is_bright).all()
    assert is_black.any()
    assert is_bright.any()


@pytest.mark.parametrize("size", [(32, 16), (33, 17)])
def test_translation_is_pillows(size):
    images = noise(20, *size, 3)
    corners = torch.rand(2, 20, generator=generator(1))
    corners[:, 0], corners[:, 1] = 0, 1
    larger = (round(size[1] * 1.125), round(size[0] * 1.125))
    result = translate(images, *corners)
    assert result.shape == images.shape
    assert result.dtype == torch.uint8
    for image, (top, left), ours in zip(images, corners.T.tolist(), result, strict=True):
        enlarged = Image.fromarray(image.numpy()).resize(larger, Image.Resampling.BILINEAR)
        left, top = round(left * (larger[0] - size[1])), round(top * (larger[1] - size[0]))
        expected = np.asarray(enlarged.crop((left, top, left + size[1], top + size[0])))
        assert np.abs(ours.numpy().astype(int) - expected).max() <= 1


@pytest.mark.parametrize("flag", SHARES)
def test_each_augmentation_changes_its_share_of_the_images(flag):
    image, many = noise(1, 64, 32, 3), torch.zeros(600, dtype=torch.int64)
    shares = []
    for probability in (0.0, 0.3, 1.0):
        settings: dict = {flag: probability}
        augment = Augment(64, 32, padding=0, flip_p=0, **settings)
        changed = (augment(image, many, generator()) != normalise(image)).flatten(1).any(1)
        shares.append(changed.float().mean().item())
    most = 0.8 if flag == "autoaugment_p" else 0.95  # a step of a policy happens by chance
    assert shares[0] == 0
    assert shares[2] > most
    assert abs(shares[1] - 0.3 * shares[2]) < 0.07


def test_default_pipeline_keeps_its_bits():
    """The hash is of a batch that the first version of this pipeline made.

    A seed therefore stands for the same training.
    """
    bank = (torch.arange(6 * 32 * 16 * 3) * 7919 % 256).to(torch.uint8).view(6, 32, 16, 3)
    draws = torch.Generator().manual_seed(1)
    images = Augment(32, 16, erasing_p=0.5)(bank, torch.tensor([3, 1, 1, 5]), draws)
    digest = hashlib.sha256(images.permute(0, 2, 3, 1).contiguous().numpy().tobytes()).hexdigest()
    assert digest[:16] == "497840565bd9da77"


def test_options_of_a_training_describe_it():
    options = FitOptions(erasing_p=0.5, lgt_p=0.2, color_jitter=True, flip_p=0)
    expected = Augment(256, 128, padding=3, erasing_p=0.5, lgt_p=0.2, color_jitter=True, flip_p=0)
    assert Augment.of(options, 256, 128, padding=3) == expected


def coordinates(height, width):
    """A bank of one image: its red is the row + 1, and its green is the column + 1.

    Black is outside.
    """
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows + 1, columns + 1, rows], dim=2).to(torch.uint8)[None]


def test_crops_are_uniform_and_half_are_flipped(monkeypatch):
    monkeypatch.setattr(augment_module, "normalise", lambda images: images)
    images = Augment(32, 24)(
        coordinates(32, 24), torch.zeros(8000, dtype=torch.int64), generator()
    ).int()
    top = images[:, 15, 12, 0] - 16  # the middle is never padding
    flip = images[:, 15, 13, 1] < images[:, 15, 12, 1]
    left = torch.where(flip, images[:, 15, 11, 1], images[:, 15, 12, 1]) - 13
    for offset in (top, left):
        counts = torch.bincount(offset + 10, minlength=21)
        expected = 8000 / 21
        assert len(counts) == 21
        # Chi-squared, 20 degrees of freedom, p = 0.001.
        assert ((counts - expected) ** 2 / expected).sum() < 45
    assert abs(flip.float().mean() - 0.5) < 0.02
    together = torch.stack([top, left, flip]).numpy()
    assert abs(np.corrcoef(together)[np.triu_indices(3, 1)]).max() < 0.05


@pytest.mark.parametrize("flip_p", [0.0, 1.0])
def test_a_flip_alone_mirrors_every_image_or_none(flip_p):
    images = noise(4, 12, 6, 3)
    result = Augment(12, 6, padding=0, flip_p=flip_p)(images, torch.tensor([2, 0]), generator())
    expected = normalise(images[[2, 0]])
    assert torch.equal(result, expected.flip(3) if flip_p else expected)


def test_image_too_small_for_any_box_stays_whole():
    image = noise(1, 2, 1, 3)
    assert torch.equal(
        Augment(2, 1, padding=0, flip_p=0, erasing_p=1.0)(image, torch.tensor([0]), generator()),
        normalise(image),
    )


def test_whole_augmentation_erases_after_normalisation():
    white = torch.full((1, 64, 32, 3), 255, dtype=torch.uint8)
    images = Augment(64, 32, padding=0, erasing_p=0.5)(
        white, torch.zeros(500, dtype=torch.int64), generator()
    )
    erased = (images == 0).all(1)
    assert torch.equal(images[:, 0] == 0, erased)
    assert abs(erased.flatten(1).any(1).float().mean() - 0.5) < 0.07
    assert erased.flatten(1).float().mean(1).max() < 0.45


def test_cutout_erases_a_square_of_half_the_width():
    white = torch.full((1, 64, 32, 3), 255, dtype=torch.uint8)
    images = Augment(64, 32, padding=0, cutout_p=1.0)(
        white, torch.zeros(200, dtype=torch.int64), generator()
    )
    erased = (images == 0).all(1)
    heights, widths = erased.any(2).sum(1), erased.any(1).sum(1)
    assert heights.max() == widths.max() == 16
    assert ((heights == 16) & (widths == 16)).any()


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_generator_state_gives_the_same_batch(device):
    bank = noise(6, 32, 16, 3).to(device)
    indices = torch.tensor([3, 1, 1, 5], device=device)
    augment = Augment(32, 16, **ALL)
    torch.manual_seed(1)
    first = augment(bank, indices, generator(7, device))
    torch.manual_seed(2)  # of no consequence
    assert torch.equal(augment(bank, indices, generator(7, device)), first)
    assert not torch.equal(augment(bank, indices, generator(8, device)), first)
    assert not torch.equal(first[1], first[2])
    assert first.shape == (4, 3, 32, 16)
    assert first.dtype == torch.float32
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(bank.cpu(), noise(6, 32, 16, 3))


def test_half_precision_around_it_changes_nothing():
    bank = noise(6, 32, 16, 3)
    indices = torch.arange(6)
    augment = Augment(32, 16, **ALL)
    expected = augment(bank, indices, generator())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augment(bank, indices, generator()), expected)


def test_generator_resumes_from_its_state():
    bank = noise(6, 32, 16, 3)
    indices = torch.arange(6)
    augment = Augment(32, 16, **ALL)
    straight, resumed = generator(), generator()
    augment(bank, indices, straight)
    state = straight.get_state()
    expected = augment(bank, indices, straight)
    resumed.set_state(state)
    assert torch.equal(augment(bank, indices, resumed), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_host_never_waits_for_the_gpu():
    bank, indices = noise(6, 32, 16, 3).cuda(), torch.arange(6).cuda()
    augment, draws = Augment(32, 16, **ALL), generator(0, "cuda")
    augment(bank, indices, draws)  # the first call copies the constants
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert augment(bank, indices, draws).is_cuda
    finally:
        torch.cuda.set_sync_debug_mode("default")

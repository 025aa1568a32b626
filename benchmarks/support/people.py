"""Small data sets of people: noise, for training in seconds, and synthetic people."""

import numpy as np
from PIL import Image

import prepare


def write_people(folder, people, images, seed=0):
    """Write small images of people from two cameras, in the layout of prepare.py.

    Each person is noise around a colour.
    """
    random = np.random.default_rng(seed)
    for person in range(1, people + 1):
        path = folder / f"{person:04}"
        path.mkdir(parents=True)
        colour = random.integers(40, 216, 3)
        for image in range(images):
            pixels = colour + random.integers(-40, 40, (64, 32, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(
                path / f"{person:04}_c{image % 2 + 1}_{image}.png"
            )


def draw_people(folder, identities, tested=2, cameras=2, images=2, distractors=0, junk=0):
    """Draw a synthetic data set, lay it out as prepare.py does, and return the layout's folder."""
    counts = {
        "identities": identities,
        "test_identities": tested,
        "cameras": cameras,
        "images": images,
    }
    counts |= {"distractors": distractors, "junk": junk}
    flags = [word for name, count in counts.items() for word in (f"--{name}", str(count))]
    prepare.main(["--synthetic", "--data_dir", str(folder), *flags])
    return folder / "pytorch"

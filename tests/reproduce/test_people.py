"""The recipe of the network in the package, on a drawn file and drawn people."""

import json
import runpy
from pathlib import Path

import numpy as np
import torch

from benchmarks.support.people import draw_people
from person_reid.data.images.augment import normalise
from person_reid.data.images.bank import load_bank
from person_reid.deploy.embedder import Embedder
from person_reid.deploy.load import load_network
from person_reid.deploy.pretrained import open_pretrained
from person_reid.models.factory import create_model
from tests.support import ROOT
from tests.support.openvino_files import random_constants, write_openvino


def test_the_folder_has_the_features_of_the_file_and_norms_to_train_on(here, monkeypatch):
    monkeypatch.setattr("person_reid.deploy.publish.TIMED_IMAGES", 1)
    file = write_openvino(here / "net.xml", random_constants(), half=True)
    people = draw_people(here / "people", 6, 4)
    main = runpy.run_path(str(ROOT / "recipes" / "people" / "from_intel.py"))["main"]
    main.__globals__.update(PHOTOGRAPHS=24)
    words = [str(file), "--images", str(people / "train_all"), "--threshold", "0.45"]
    main([*words, "--output", "folder"])

    pixels = np.random.default_rng(0).integers(0, 256, (4, 256, 128, 3), dtype=np.uint8)
    features = Embedder.from_pretrained("folder", device="cpu")(list(pixels))
    images = normalise(torch.from_numpy(pixels))
    with torch.inference_mode():
        plain = create_model("osnet_lct_x0_25", weights=file).eval()(images).numpy()
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    np.testing.assert_allclose(features, plain, atol=1e-3)

    # In training, a batch of these people gives about the features of testing.
    crops = normalise(load_bank(sorted(Path(people, "train_all").rglob("*.jpg"))[:24], 256, 128))
    cosines = {}
    for name, network in (
        ("folder", load_network(open_pretrained("folder"))),
        ("file", create_model("osnet_lct_x0_25", weights=file)),
    ):
        with torch.no_grad():
            tested, trained = network.eval()(crops), network.train()(crops)
        cosines[name] = torch.cosine_similarity(tested, trained).mean().item()
    assert cosines["folder"] > 0.99 > cosines["file"]

    assert json.loads(Path("folder/config.json").read_text())["threshold"] == 0.45
    assert "Apache License" in Path("folder/LICENSE").read_text()
    for name in ("NOTICE", "README.md"):
        assert "Copyright 2020 Intel" in Path("folder", name).read_text()

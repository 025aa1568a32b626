"""The recipe of the network in the package, on a few drawn people and with another teacher."""

import json
import runpy
from pathlib import Path

import torch
from safetensors.torch import load_file

from benchmarks.support.people import draw_people, write_people
from person_reid.deploy.embedder import Embedder
from person_reid.models.osnet import OSNet
from person_reid.retrieval.track_features import TrackCosines
from tests.support import ROOT


def test_the_last_stages_learn_and_a_further_seed_needs_no_teacher(here, monkeypatch):
    write_people(here / "noise" / "train_all", 3, 2)
    drawn = str(draw_people(here / "drawn", 3))
    start = OSNet(0.25).state_dict()
    torch.save(start, "start.pth")
    words = ["--data_dirs", "noise", drawn, "--start", "start.pth", "--keep", "kept"]
    words += ["--validation", drawn, "--epochs", "1"]
    main = runpy.run_path(str(ROOT / "recipes" / "people" / "osnet_x0_25_people.py"))["main"]
    main.__globals__.update(PEOPLE=6, IMAGES=2)
    monkeypatch.setattr("person_reid.deploy.publish.TIMED_IMAGES", 1)
    main([*words, "--teacher", "osnet_x0_25=none", "--output", "first"])
    main([*words, "--teacher", "gone.onnx", "--output", "second", "--seed", "1"])

    found = [load_file(f"{folder}/model.safetensors") for folder in ("first", "second")]
    for name, before in start.items():
        now = [each[f"model.{name}"] for each in found]
        same = [torch.equal(value, before.to(value.dtype)) for value in now]
        if name.startswith(("conv1", "conv2", "conv3")):
            assert all(same), name
        elif name in ("conv4.0.conv1.conv.weight", "conv5.conv.weight", "fc.0.weight"):
            assert not any(same), name
    embed = Embedder.from_pretrained("first", device="cpu")
    config = json.loads(Path("first/config.json").read_text())
    assert embed.threshold == config["threshold"]
    assert TrackCosines.read(config)

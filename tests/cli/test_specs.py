"""Flags of train.py reach the field of the spec that has another name."""

from operator import attrgetter
from pathlib import Path

import pytest
import torch

from person_reid.cli.options import parse_train
from person_reid.cli.specs import train_spec

RENAMED = {
    "--data_dir a --train_with b,c": {"data.roots": (Path("a"), Path("b"), Path("c"))},
    "--train_all": {"data.split": "train_all"},
    "--batchsize 48 --sampler pk --instances 8": {
        "data.batch_size": 48, "data.sampler": "pk", "data.instances": 8,
    },
    "--resize_schedule 128x64:7,256x128": {"data.sizes": ((0, (128, 64)), (7, (256, 128)))},
    "--DG --DG_dir d": {"data.unlabelled": Path("d")},
    "--PCB": {"data.augment.padding": 0},
    "--optimizer radam --schedule multistep --milestones 3,8": {
        "optimizer.name": "radam", "optimizer.schedule": "multistep", "optimizer.milestones": (3, 8),
    },
    "--total_epoch 23 --warm_epoch 5 --freeze_epochs 3": {
        "optimizer.epochs": 23, "optimizer.warm_epochs": 5, "optimizer.freeze_epochs": 3,
    },
    "--fp16": {"dtype": torch.float16},
    "--bf16": {"dtype": torch.bfloat16},
    "--no_tf32": {"tf32": False},
    "--wa": {"average": True},
    "--adv 0.2 --aiter 2.5": {"adversarial": 0.2, "adversarial_every": 2.5},
    "--eval_every 4 --runtime openvino": {"evaluate_every": 4, "runtime": "openvino"},
    "--wandb --mlflow": {"writers": ("wandb", "mlflow")},
}  # fmt: skip


@pytest.mark.parametrize(("flags", "fields"), RENAMED.items(), ids=RENAMED.keys())
def test_a_flag_reaches_its_field(flags, fields):
    options = parse_train(flags.split())
    spec, usual = train_spec(options), train_spec(parse_train([]))
    assert {name: attrgetter(name)(spec) for name in fields} == fields
    assert all(attrgetter(name)(usual) != value for name, value in fields.items())
    assert spec.flags == vars(options)

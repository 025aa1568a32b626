"""A workspace with the inputs of every command, and a command line of each that works there."""

import shutil
import sys
from functools import partial
from pathlib import Path

from benchmarks.robustness.children import run
from benchmarks.support.people import draw_people
from benchmarks.support.scripts import module_of
from benchmarks.support.walks import write_frames, write_tracks
from person_reid.console import run_script
from person_reid.errors import UserError

SIZE = "--height 64 --width 32".split()  # noqa: SIM905
SMALL = ["--backbone", "osnet_x0_25", "--weights", "none", *SIZE, "--gpu_ids", "-1"]
RUN = ["--name", "run", "--gpu_ids", "-1"]
PEOPLE = "people/pytorch"
TRAIN = [*SMALL, "--data_dir", PEOPLE, "--batchsize", "8", "--total_epoch", "1"]
TRACKED = "--camera hall --frames hall --fps 10 --start 2026-11-01T09:00:00Z".split()  # noqa: SIM905
ADAPTED = ["--total_epoch", "1", "--batchsize", "8", "--k1", "3", "--k2", "2", "--min_samples", "2"]
# A command line of each command that works in the workspace of `make_workspace`.
WORKING = {
    "prepare": ["--data_dir", "people", "--save_dir", "out"],
    "train": [*TRAIN, "--name", "new"],
    "train_DDP": [*TRAIN, "--name", "new"],
    "test": [*RUN, "--test_dir", PEOPLE],
    "evaluate": [],
    "evaluate_gpu": ["--gpu_ids", "-1"],
    "evaluate_rerank": ["--k1", "3", "--k2", "2"],
    "demo": [],
    "model": ["osnet_x0_25"],
    "search index": ["people/query", "--index", "new.index", *SMALL],
    "search query": ["people/query", "--index", "people.index", "--gpu_ids", "-1"],
    "search enroll": ["Bert", "two.jpg", "--index", "people.index", "--gpu_ids", "-1"],
    "search identify": ["one.jpg", "--index", "people.index", "--gpu_ids", "-1"],
    "search people": ["--index", "people.index", "--sheet", "people.png"],
    "search apply": ["who.csv", "--index", "people.index"],
    "search forget": ["--index", "people.index", "--identity", "Anna"],
    "threshold": [],
    "compare": ["one.jpg", "two.jpg", "--threshold", "0.5", *RUN],
    "export": [*RUN, "--output", "net.pt"],
    "heatmap": [*RUN],
    "figures histogram": [],
    "figures curves": ["--name", "run"],
    "figures cmc": [],
    "adapt": [
        "--name",
        "new",
        *SMALL,
        "--data_dir",
        "people/bounding_box_train",
        "--steps",
        "2",
        *ADAPTED,
    ],
    "compare_networks": ["--networks", "run", "--test_dirs", PEOPLE, "--gpu_ids", "-1"],
    "explore": [],
    "label_errors": [*SMALL, "--data_dir", PEOPLE, "--save", "found.csv"],
    "save_pretrained": [*RUN, "--output", "folder"],
    "report": [*RUN, "--no_heatmaps", "--no_rerank"],
    "augmentations": ["--data_dir", PEOPLE],
    "reproduce": ["recipe.yaml", "--results", "results.jsonl"],
}
# The files that a command reads.
READ = {
    "pytorch_result.mat": [
        "evaluate",
        "evaluate_rerank",
        "demo",
        "threshold",
        "figures histogram",
        "figures cmc",
        "explore",
    ],
    "model/run/net_last.pth": ["test", "compare", "export", "save_pretrained", "compare_networks"],
    "model/run/resume.pth": ["train --resume"],
    "model/run/opts.yaml": ["test", "train --resume", "report"],
    "model/run/log.jsonl": ["figures curves", "report"],
    "people.index": [
        f"search {part}" for part in ("query", "enroll", "identify", "people", "apply", "forget")
    ],
    "who.csv": ["search apply"],
    "errors.csv": ["prepare --corrections", "explore --label_errors", "label_errors again"],
    "one.jpg": ["compare"],
    "net.onnx": ["test --engine"],
    "list.csv": ["prepare --csv"],
    "recipe.yaml": ["reproduce"],
    "options.yaml": ["train --config"],
    "results.jsonl": ["reproduce"],
    "hall.txt": ["search index --tracks"],
    "hall/000003.png": ["search index --tracks"],
    "tracks.index": ["across", "across --truth"],
    "truth/hall/gt/gt.txt": ["across --truth"],
    "travel.csv": ["across --travel"],
    "corrections.csv": ["across --corrections"],
    "people/pytorch/.prepared.json": ["prepare again"],
    "people/synthetic.json": ["prepare --synthetic"],
}
WORKING |= {
    "train --config": ["--config", "options.yaml"],
    "train --resume": [*TRAIN, "--name", "run", "--resume"],
    "search index --tracks": [*TRACKED, "--tracks", "hall.txt", "--index", "new.index", *SMALL],
    "across": ["--index", "tracks.index", "--save", "linked", "--sheet", "linked.png"],
    "across --truth": ["--index", "tracks.index", "--save", "linked", "--truth", "truth"],
    "across --travel": ["--index", "tracks.index", "--save", "linked", "--travel", "travel.csv"],
    "across --corrections": [
        "--index",
        "tracks.index",
        "--save",
        "linked",
        "--corrections",
        "corrections.csv",
    ],
    "prepare --dataset mot": ["--dataset", "mot", "--data_dir", "mot", "--save_dir", "out"],
    "test --engine": ["--engine", "net.onnx", "--gpu_ids", "-1", "--test_dir", PEOPLE],
    "prepare --csv": ["--csv", "list.csv", "--save_dir", "out"],
    "prepare again": ["--data_dir", "people"],
    "prepare --check": ["--data_dir", PEOPLE, "--check"],
    "prepare --corrections": [
        "--data_dir",
        PEOPLE,
        "--corrections",
        "errors.csv",
        "--save_dir",
        "mended",
    ],
    "explore --label_errors": ["--label_errors", "errors.csv"],
    "explore --index": ["--index", "people.index"],
    "prepare --synthetic": ["--synthetic", "--data_dir", "people"],
    "evaluate --json": ["--json", "figures.json"],
    "label_errors again": [*SMALL, "--data_dir", PEOPLE, "--save", "errors.csv"],
    "label_errors of a run": [*RUN, "--data_dir", PEOPLE, "--save", "found.csv"],
    "search index of a run": ["people/query", "--index", "new.index", *RUN],
}


def make_workspace(workspace):
    """Make a workspace with people, a run, features, an index and every other input."""
    workspace.mkdir()

    def do(command, words):
        outcome = run(partial(call, command, words), workspace, 300)
        if outcome.status != 0:
            raise UserError(f"{command} {words}: {outcome.output}")

    run(partial(draw_people, workspace / "people", 4, 2, 2, 2, 2, 2), workspace, 300)
    do("train", [*TRAIN, "--name", "run", "--train_all"])
    do("test", WORKING["test"])
    do("search index", ["people/query", "--index", "people.index", *SMALL])
    do("export", [*RUN, "--output", "net.onnx"])
    do("label_errors", [*WORKING["label_errors"], "--save", "errors.csv", "--accept_above", "0"])
    crops = sorted((workspace / "people" / "query").glob("*.jpg"))
    for name, crop in zip(("one.jpg", "two.jpg"), crops, strict=False):
        shutil.copy(crop, workspace / name)
    do("search enroll", ["Anna", "one.jpg", *WORKING["search enroll"][2:]])
    do("search people", [*WORKING["search people"], "--save", "who.csv"])
    do("prepare --corrections", WORKING["prepare --corrections"])
    mended = workspace / "mended"
    (workspace / "mended.txt").write_text(
        "\n".join(str(path.relative_to(mended)) for path in mended.glob("*/*/*.jpg"))
    )
    shutil.rmtree(mended)
    lines = [
        f"{path.relative_to(workspace)},{path.name[:4]},{path.name[6]},{split}\n"
        for split, folder in (
            ("train", "bounding_box_train"),
            ("query", "query"),
            ("gallery", "bounding_box_test"),
        )
        for path in sorted((workspace / "people" / folder).glob("0*.jpg"))
        if not path.name.startswith("0000")
    ]
    (workspace / "list.csv").write_text("path,identity,camera,split\n" + "".join(lines))
    (workspace / "precious").mkdir()
    (workspace / "precious" / "thesis.txt").write_text("years of work")
    about = (
        "{title: t, source: s, dataset: synthetic, average_precision: step, "
        "published: {single: {mAP: 50}}}"
    )
    flags = {
        flag.removeprefix("--"): value for flag, value in zip(TRAIN[::2], TRAIN[1::2], strict=True)
    }
    (workspace / "recipe.yaml").write_text(
        "".join(f"{k}: '{v}'\n" for k, v in flags.items()) + f"recipe: {about}\n"
    )
    (workspace / "options.yaml").write_text("".join(f"{k}: {v}\n" for k, v in flags.items()))
    (workspace / "results.jsonl").touch()
    add_tracks(workspace, do)


def add_tracks(workspace, do):
    """Make an index of the tracks of two cameras, the truth of one, and what across.py reads."""
    for camera, second in (("hall", 0), ("yard", 1)):
        write_frames(workspace / camera)
        write_tracks(workspace / f"{camera}.txt")
        words = ["--tracks", f"{camera}.txt", "--frames", camera, "--camera", camera]
        words += ["--fps", "10", "--start", f"2026-11-01T09:00:0{second}Z"]
        do("search index --tracks", [*words, "--index", "tracks.index", *SMALL])
        (workspace / "truth" / camera / "gt").mkdir(parents=True)
        write_tracks(workspace / "truth" / camera / "gt" / "gt.txt")
    (workspace / "travel.csv").write_text("from,to,seconds\nhall,yard,5\n")
    crops = sorted((workspace / "tracks.crops").rglob("*.jpg"))
    named = "".join(f"{crop.relative_to(workspace)},{crop.stem[:6]}\n" for crop in crops)
    (workspace / "corrections.csv").write_text(f"path,identity\n{named}")


def call(command, words, before=None):
    """Run a command in this process, as its script does. before: called first, with the folder."""
    if before:
        before(Path())
    name, _, subcommand = command.partition(" ")
    first = [part for part in subcommand.split()[:1] if not part.startswith("-")]
    first = first if name in ("search", "figures") else []
    sys.argv = [name, *first, *words]
    run_script(partial(module_of(name).main, [*first, *words]))

"""Flags as people first guess them: harmless ones work, and the others end in a hint."""

from collections.abc import Collection, Mapping, Sequence

from person_reid.config.option import ALIASES
from person_reid.text import as_command, did_you_mean

DEVICES = {"cpu": "-1", "cuda": "0", "gpu": "0", "mps": "0"}  # values of --device, besides cuda:1
OTHER_TOOLBOXES = ""  # any script
# {guess: {flag that a script must have: what to do}}, the first that it has
HINTS: dict[str, dict[str, str]] = {
    "workers": {OTHER_TOOLBOXES: "There are no workers: images are decoded once, and kept."},
    "pretrained": {
        "weights": "--weights FILE begins with a file; "
                   "--weights imagenet and none are the other choices.",
    },
    "config_file": {"config": "--config FILE reads options from a file."},
    "output": {
        "save": "--save FILE says what to write.",
        "save_dir": "--save_dir FOLDER says where to write.",
        "result": "--result FILE says where the features are.",
        "total_epoch": "--name NAME says where to write: model/NAME.",
    },
    "rerank": {"result": f"{as_command('evaluate_rerank.py')} re-ranks the gallery."},
    "model": {
        "backbone": f"--backbone NAME chooses the network; {as_command('model.py')} lists them.",
        "name": "--name NAME chooses the run.",
    },
    "dataset": {"data_dir": "--data_dir FOLDER is what prepare.py laid out."},
    "checkpoint": {"which_epoch": "--name NAME --which_epoch N chooses a checkpoint, "
                                  "and --weights FILE any file.",
                   "weights": "--weights FILE begins with a file."},
    "learning_rate": {"lr": "--lr X is the learning rate."},
    "amp": {"bf16": "--bf16 computes in half precision; so does --fp16."},
    "eval": {"eval_every": "--eval_every N tests every N epochs, and "
                           f"{as_command('test.py')} tests a run."},
}  # fmt: skip
SAME_FLAGS = {  # guesses that mean another one
    "num_workers": "workers", "cfg": "config_file", "output_dir": "output", "out": "output",
    "re_rank": "rerank", "re_ranking": "rerank", "arch": "model", "network": "model",
    "ckpt": "checkpoint", "eval_only": "eval", "evaluate": "eval", "test_only": "eval",
}  # fmt: skip


def as_meant(words: Sequence[str], flags: Collection[str]) -> list[str]:
    """Return a command line in which aliases and hyphenated names are the flags of a parser.

    flags: the parser's, such as --batchsize. `--batch-size 8` becomes `--batchsize 8`, and
    `--device cpu` becomes `--gpu_ids -1`.
    """
    found: list[str] = []
    for place, word in enumerate(words):
        if word == "--":
            return [*found, *words[place:]]
        flag, equals, value = word.partition("=")
        if found and found[-1] == "--gpu_ids" and words[place - 1] == "--device":
            word = _device(word)
        elif flag.startswith("--") and flag not in flags:
            name = flag[2:].replace("-", "_")
            meant = f"--{ALIASES.get(name, name)}"
            if meant in flags:
                value = _device(value) if name == "device" else value
                word = f"{meant}{equals}{value}"
        found.append(word)
    return found


def _device(text: str) -> str:
    """Return the value of --gpu_ids for one of --device."""
    return DEVICES.get(text, text.removeprefix("cuda:"))


def hint(words: Sequence[str], flags: Mapping[str, object]) -> str:
    """Return, after a space, what to do about words that a parser with these flags does not know.

    The text is empty if nothing comes to mind.
    """
    guess = next((word for word in words if word.startswith("--")), "").partition("=")[0]
    name = guess[2:].replace("-", "_").lower()
    for needed, text in HINTS.get(SAME_FLAGS.get(name, name), {}).items():
        if needed == OTHER_TOOLBOXES or f"--{needed}" in flags:
            return f" {text}"
    alike = next((flag for flag in flags if flag.lower() == f"--{name}"), None)
    return did_you_mean(alike or guess, flags)

"""The options of tools/augmentations.py, tools/reproduce.py and tools/ablation.py."""

from person_reid.config.forms import file_ending_in, output_path, picture_file
from person_reid.config.look import PaperLook, TableForm
from person_reid.config.option import POSITIVE, SEED, SIDE, Options, checked_number, option
from person_reid.config.run import PluginOptions

MOST_SEEDS = 1000


class AugmentationsConfig(PaperLook, PluginOptions, title="picture"):
    """All options of tools/augmentations.py."""

    data_dir: str = option("../Market/pytorch", "folder that prepare.py laid out")
    people: int = option(10, "number of identities, one image each", range=POSITIVE)
    height: int = option(128, "height of the images in pixels", range=SIDE)
    width: int = option(64, "width of the images in pixels", range=SIDE)
    seed: int = option(0, "another seed draws other changes", range=SEED)
    save: str = option("augmentations.jpg", "picture to write", form=picture_file, metavar="FILE")


def listed_seeds(text: str) -> list[int]:
    """Return the seeds that a text counts or lists: [0, 1, 2] for "3" and [4, 7] for "4,7"."""
    numbers = [checked_number(int, part, SEED) for part in text.split(",") if part]
    if not numbers or ("," not in text and not 1 <= numbers[0] <= MOST_SEEDS):
        raise ValueError(f"{text}: expected how many seeds, such as 3, or which, such as 4,7")
    return numbers if "," in text else list(range(numbers[0]))


def seeds(text: str) -> str:
    """Check the form of seeds; listed_seeds reads it."""
    listed_seeds(text)
    return text


class ReproduceConfig(Options, title="runs"):
    """All options of tools/reproduce.py."""

    recipes: tuple[str, ...] = option(
        (), "files in recipes/", several="*", positional=True, metavar="RECIPE"
    )
    seeds: str = option("1", "how many (3), or which (4,7; default: 0)", form=seeds)
    table: bool = option(False, "only write the page of results")
    results: str | None = option(
        None,
        "one line per run; its page is beside it (default: docs/results.jsonl, docs/results.md)",
        form=output_path,
        metavar="FILE.jsonl",
    )


class AblationConfig(TableForm, PluginOptions, title="runs"):
    """All options of tools/ablation.py."""

    table: str = option(
        "",
        "a YAML file: train, test, and rows, each with flags of train.py",
        positional=True,
        metavar="TABLE",
    )
    seeds: str = option("2", "how many (3), or which (4,7; default: 0,1)", form=seeds)
    rows: tuple[str, ...] = option((), "these rows alone", several="+", metavar="ROW")
    results: str | None = option(
        None,
        "one line per run (default: model/TABLE.jsonl)",
        form=file_ending_in(".jsonl"),
        metavar="FILE.jsonl",
    )

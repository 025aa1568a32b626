"""The options of a run: its name, its device, its seed, and its output."""

from person_reid.config.forms import devices, texts
from person_reid.config.option import ANY, SEED, WHOLE, Options, option

WRITER_NAMES: list[str] = []  # registered by plugins
OF_RESNET50 = "ft_ResNet50"  # the published name of a run
RUNTIMES = ("torch", "onnxruntime", "openvino", "auto")


class PluginOptions(Options, title="extensions"):
    """The custom code to load."""

    plugin: str | None = option(
        None,
        "your own files or modules that register networks, losses, … (docs/extending.md)",
        form=texts,
        metavar="FILE,FILE",
        effect=False,
    )


class DeviceOptions(PluginOptions, title="device"):
    """The device that a script runs on."""

    gpu_ids: str = option(
        "0",
        "GPUs, such as 0 or 0,1; -1 for the CPU",
        form=devices,
        published=True,
        common=True,
        effect=False,
    )


class RunOptions(DeviceOptions, title="run"):
    """The name of a run, and how it starts and resumes."""

    name: str = option(
        OF_RESNET50,
        "name of the run, whose files go to model/NAME (default: ft_ResNet50; "
        "ft_BACKBONE for another network)",
        published=True,
        common=True,
        effect=False,
    )
    seed: int = option(0, "the same seed on the same machine gives the same network", range=SEED)
    resume: bool = option(
        False, "continue from the last saved state of model/NAME", common=True, effect=False
    )
    config: str | None = option(
        None,
        "YAML file of options, which flags override",
        metavar="FILE",
        common=True,
        effect=False,
    )
    dry_run: bool = option(
        False, "only print the options and the size of the network", common=True, effect=False
    )


class RecordOptions(Options, title="records"):
    """Options for measurements and output during training."""

    eval_every: int = option(
        0, "test every N epochs; 0 for never", range=WHOLE, common=True, effect=False
    )
    runtime: str | None = option(
        None,
        "on a CPU, what computes the features; auto is the fastest that agrees "
        "with PyTorch (default: torch)",
        choices=RUNTIMES,
        needs={"eval_every": ANY},
    )
    keep: int = option(
        0, "number of numbered checkpoints to keep; 0 keeps all", range=WHOLE, effect=False
    )
    tensorboard: bool = option(False, "also write TensorBoard events to model/NAME", effect=False)
    wandb: bool = option(
        False, "also log to Weights & Biases (with WANDB_MODE=offline, to files)", effect=False
    )
    writers: str | None = option(
        None,
        "registered writers that also get the metrics of every epoch",
        form=texts,
        names=WRITER_NAMES,
        metavar="LIST",
        effect=False,
    )

"""The options of the optimiser, of its learning rates and of the precision."""

from person_reid.config.forms import milestones, texts
from person_reid.config.option import POSITIVE, WEIGHT, WHOLE, Options, Range, option

OPTIMIZERS = ("sgd", "adam", "adamw", "amsgrad", "radam", "rmsprop")
SCHEDULE_NAMES = ["step", "cosine", "multistep", "warmup_cosine", "one_cycle"]
DECAY = Range("above 0, to 1", lambda number: 0 < number <= 1)
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


class PrecisionOptions(Options, title="precision"):
    """The numbers that a network computes with."""

    fp16: bool = option(False, "mixed precision with float16", published=True)
    bf16: bool = option(False, "mixed precision with bfloat16", published=True, common=True)

    def fault(self) -> str:
        """Return why the options do not go together, each as {name}; empty if they do."""
        both = self.fp16 and self.bf16
        return "{fp16} and {bf16} exclude each other: choose one." if both else ""


class OptimizerOptions(PrecisionOptions, title="optimisation"):
    """How the weights are updated, and how the learning rate changes over the epochs."""

    total_epoch: int = option(60, "number of epochs", range=POSITIVE, published=True, common=True)
    lr: float = option(
        0.05, "learning rate of the head", range=POSITIVE, published=True, common=True
    )
    backbone_lr: float | None = option(
        None, "learning rate of the backbone (default: lr / 10)", range=POSITIVE
    )
    prototype_lr: float | None = option(
        None, "rate of the losses' own weights (default: lr)", range=POSITIVE
    )
    optimizer: str = option(
        "sgd", "sgd uses Nesterov momentum 0.9", choices=OPTIMIZERS, common=True
    )
    weight_decay: float = option(
        5e-4, "weight decay, applied to all weights", range=WEIGHT, published=True
    )
    balance: float | None = option(
        None,
        "first scale the convolutions in front of batch norms to this root mean square, "
        "such as 0.1: the network computes the same, and with Adam its layers learn alike; "
        "0 leaves them as they are",
        range=WEIGHT,
        metavar="SCALE",
    )
    schedule: str = option("step", "schedule of the learning rate", choices=SCHEDULE_NAMES)
    cosine: bool = option(
        False, "the same as --schedule cosine", stands_for=("schedule", "cosine"), published=True
    )
    milestones: str = option(
        "40,70",
        "epochs after which multistep divides the rate by ten",
        form=milestones,
        needs={"schedule": ("multistep",)},
    )
    warm_epoch: int = option(
        0, "epochs over which the learning rate rises", range=WHOLE, published=True, common=True
    )
    freeze_epochs: int = option(
        0, "epochs in which only the head learns", range=WHOLE, published=True
    )
    freeze_layers: str | None = option(
        None,
        "layers that keep their weights and statistics, such as conv1,layer1",
        form=texts,
        metavar="LIST",
    )
    layer_decay: float | None = option(
        None,
        "factor of the backbone's rate from each layer to the one before it, such as 0.75 for a "
        "ViT of timm",
        range=DECAY,
    )
    clip_grad: float | None = option(
        None, "largest norm of the gradient of all weights", range=POSITIVE, metavar="NORM"
    )
    accumulate: int = option(1, "batches per update of the weights", range=POSITIVE)
    sync_bn: bool = option(False, "compute batch norm over the batches of all GPUs")
    compile: str | None = option(
        None,
        "mode of torch.compile; on a CPU, OSNet's fused layers may take the default mode's place",
        choices=COMPILE_MODES,
        bare="default",
    )
    no_tf32: bool = option(False, "use full float32 on GPUs that support TF32")
    FSGD: bool = option(False, "fused SGD, which is used with or without this flag", published=True)
    wa: bool = option(
        False, "average the weights over the last fifth of the epochs", published=True
    )

    @property
    def learning_rates(self) -> tuple[float, float, float]:
        """The rates of backbone, head and the losses' own weights."""
        return self.backbone_lr or 0.1 * self.lr, self.lr, self.prototype_lr or self.lr

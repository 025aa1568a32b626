"""Training curves: the loss and the top-1 error of every epoch."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from utils import atomic_write

TRAIN_COLOR, VALIDATION_COLOR = "#2563eb", "#ea580c"


def draw_curves(history, path):
    """Draw loss and error over the epochs to an image file.

    history: a list of dicts, one an epoch, with epoch, loss, error and, where there is a validation set, val_loss and
    val_error (errors in 0..1).
    """
    figure = Figure(figsize=(10, 4), dpi=120, layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, name, label in zip(axes, ("loss", "error"), ("Loss", "Top-1 error"), strict=True):
        for prefix, color, who in (("", TRAIN_COLOR, "training"), ("val_", VALIDATION_COLOR, "validation")):
            points = [(record["epoch"], record[prefix + name]) for record in history if prefix + name in record]
            if points:
                axis.plot(*zip(*points, strict=True), color=color, marker=".", linewidth=1.8, label=who)
        axis.set(xlabel="Epoch", title=label)
        highest = max(record[name] for record in history)
        axis.set_ylim(0, 1.15 * highest or 1)  # a validation loss far above, usual in the first epochs, is cut off
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    axes[1].yaxis.set_major_formatter(PercentFormatter(1))
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip("."))

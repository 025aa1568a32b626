"""Draw the accuracy of networks against the time that an image takes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D

from person_reid.config.look import own_or
from person_reid.show.style import MANY, SCREEN, Look, legend_below, log_scale, panel, panels
from person_reid.text import printable

PANEL_SIZE = 5.4, 4.8  # inches
DOTS = "os^Dv"  # one for every ten networks


def draw_accuracy_by_time(
    rows: Sequence[Mapping[str, Any]], save: str | Path, look: Look = SCREEN
) -> None:
    """Draw mAP against milliseconds, a panel for each test set; the legend names the networks.

    rows: {"network", "milliseconds", "accuracy": {test set: {"mAP"}}} of each network; mAP in
        [0, 1].
    """
    names = own_or([printable(row["network"]) for row in rows], look.labels)
    keys = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=DOTS[i // len(MANY) % len(DOTS)],
            color=MANY[i % len(MANY)],
            label=name,
        )
        for i, name in enumerate(names)
    ]
    test_sets = rows[0]["accuracy"]
    with panels(save, len(test_sets), PANEL_SIZE, look, narrowest=3, below=0.5) as (figure, every):
        for axes, test_set in zip(every, test_sets, strict=True):
            title = f"{printable(test_set)}: mAP by time"
            y = "" if look.no_title else "mAP, %"
            panel(axes, title, "Milliseconds per image, on the CPU", y, look)
            log_scale(axes, [row["milliseconds"] for row in rows])
            for row, key in zip(rows, keys, strict=True):
                mean_ap = 100 * row["accuracy"][test_set]["mAP"]
                axes.plot(
                    row["milliseconds"], mean_ap, marker=key.get_marker(), color=key.get_color()
                )
        legend_below(figure, keys)

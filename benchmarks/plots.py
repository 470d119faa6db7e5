"""Time against size, as PNG, by matplotlib (the extra `bench`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

# The same colour for a contestant in every plot; who is drawn first is on top.
COLOURS = {
    "tracejit": "#d62728",
    "before": "#7f7f7f",
    "numpy": "#1f77b4",
    "jax": "#9467bd",
    "tensorflow": "#ff7f0e",
    "tf.function": "#e377c2",
    "tf.function+xla": "#bcbd22",
    "torch": "#8c564b",
    "torch.compile": "#2ca02c",
}


class Curves(NamedTuple):
    """Seconds by size for each label, and what the machine needs at the least."""

    title: str
    counts: str
    seconds: dict[str, dict[int, float]]
    limit: dict[int, float]


def draw(all_curves: Sequence[Curves], heading: str, file: Path) -> None:
    """Write the curves beside each other, in rows of three. ModuleNotFoundError where there is no matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(3, len(all_curves))
    rows = -(-len(all_curves) // columns)
    size = (9, 6) if len(all_curves) == 1 else (5 * columns, 4 * rows)
    figure, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis, curves in zip(axes.flat, all_curves, strict=False):
        _draw(axis, curves)
    for axis in axes.flat[len(all_curves) :]:
        axis.set_visible(False)
    labels: dict[str, Any] = {}
    for axis in axes.flat:
        labels |= {label: line for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(labels.values(), labels, loc="outside lower center", ncols=min(9, len(labels)), frameon=False)
    figure.suptitle(heading)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)


def _draw(axis: Any, curves: Curves) -> None:
    for order, label in enumerate(sorted(curves.seconds, key=lambda label: list(COLOURS).index(label))):
        sizes, seconds = zip(*sorted(curves.seconds[label].items()), strict=True)
        style = {"color": COLOURS[label], "linewidth": 2.4 if label == "tracejit" else 1.2, "marker": "o", "markersize": 3}
        axis.plot(sizes, seconds, label=label, zorder=20 - order, **style)
    sizes, seconds = zip(*sorted(curves.limit.items()), strict=True)
    axis.plot(sizes, seconds, label="the machine's limit", color="black", linestyle="--", linewidth=1, zorder=1)
    axis.set(title=curves.title, xlabel=curves.counts, ylabel="seconds a call", xscale="log", yscale="log")
    if len(curves.limit) < 10 and max(curves.limit) < 10**5:
        axis.set_xticks(list(curves.limit), [str(size) for size in curves.limit])
        axis.minorticks_off()
    axis.grid(True, which="major", color="#dddddd", linewidth=0.6)

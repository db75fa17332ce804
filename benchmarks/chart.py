"""The chart of a run: processor time per request, as a ratio to the reference.

python chart.py RUN.json CHART.png      (in the virtual environment that has matplotlib)
"""

from __future__ import annotations

import json
import sys
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

GREY = "#7d8590"
"""Readable on white and on near-black; the background is transparent."""
OURS, OTHERS, REFERENCE = "#2da44e", "#8b949e", "#57606a"


def draw(run: dict[str, Any], path: str) -> None:
    """Draw the queries that every system answers, side by side."""
    shown = [query for query in run["queries"] if query["everywhere"]]
    systems = [system for system in run["systems"] if system["name"] not in run["missing"]]
    order = sorted(systems, key=lambda system: -mean_ratio(shown, system["name"]))
    figure, axes = plt.subplots(
        1, len(shown), figsize=(3 + 2.4 * len(shown), 0.9 + 0.42 * len(order)), sharey=True,
        squeeze=False,
    )  # fmt: skip
    for axis, query in zip(axes[0], shown, strict=True):
        ratios = [query["systems"][system["name"]]["cpu_ratio"] for system in order]
        colors = [color(system["name"], run["reference"]) for system in order]
        bars = axis.barh([system["title"] for system in order], ratios, color=colors, height=0.68)
        axis.bar_label(bars, [f"{value:.2g}" if value < 10 else f"{value:.0f}" for value in ratios],
                       padding=3, color=GREY, fontsize=9)  # fmt: skip
        axis.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
        axis.set_title(query["name"], color=GREY, fontsize=11)
        axis.set_xscale("log")
        axis.set_xlim(0.5, max(4.0, max(ratios)) * 2.2)
        axis.xaxis.set_visible(False)
        axis.tick_params(axis="y", colors=GREY, length=0, labelsize=9.5)
        for side in axis.spines.values():
            side.set_visible(False)
    figure.suptitle(
        "Processor time per request, server and database, hand-written endpoint = 1 "
        "(less is better; logarithmic)",
        color=GREY, fontsize=10.5,
    )  # fmt: skip
    figure.tight_layout()
    figure.savefig(path, dpi=160, transparent=True)


def mean_ratio(queries: list[dict[str, Any]], name: str) -> float:
    """The mean of a system's ratios, for the order of the bars."""
    ratios = [query["systems"][name]["cpu_ratio"] for query in queries]
    return float(sum(ratios)) / len(ratios)


def color(name: str, reference: str) -> str:
    """The colour of a system's bars."""
    if name == reference:
        return REFERENCE
    return OURS if name in ("compiled", "loaders") else OTHERS


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        draw(json.load(file), sys.argv[2])

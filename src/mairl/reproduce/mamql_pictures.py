"""Pictures of the MAMQL paper's figures from the JSON that `mairl.reproduce.mamql` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {
    "mamql": "#0b7285",
    "ma-airl": "#e8590c",
    "iq-ma-joint": "#5f3dc4",
    "iq-ma-slice": "#9775fa",
    "iq-independent": "#2b8a3e",
    "bc": "#868e96",
}


def draw(folder: Path) -> list[Path]:
    """Draws every figure whose JSON is there; returns the pictures."""
    made = []
    if (folder / "figure2.json").exists():
        made.append(_figure2(json.loads((folder / "figure2.json").read_text()), folder / "figure2.svg"))
    for name, measure, label, log in (
        ("figure3", "reward/affine_mse", "mean squared error of the reward\n(best affine fit)", False),
        ("figure4", "behaviour/kl", "KL(expert ‖ learned), nats", True),
    ):
        if (folder / f"{name}.json").exists():
            series = [s for s in json.loads((folder / f"{name}.json").read_text()) if s["measure"] == measure]
            if series:
                made.append(_curves(series, label, folder / f"{name}.svg", log))
    return made


def _figure2(rows: list[dict[str, Any]], path: Path) -> Path:
    games = list(dict.fromkeys(r["game"] for r in rows))
    figure, axes = plt.subplots(1, len(games), figsize=(4.2 * len(games), 3.4), squeeze=False, layout="constrained")
    for axis, game in zip(axes[0], games):
        here = [r for r in rows if r["game"] == game]
        for algorithm in dict.fromkeys(r["algorithm"] for r in here):
            line = sorted((r for r in here if r["algorithm"] == algorithm), key=lambda r: r["demo_steps"])
            x = [r["demo_steps"] for r in line]
            axis.plot(x, [r["return_mean"] for r in line], "o-", color=COLOURS.get(algorithm), label=algorithm)
            if all(r["return_ci95"] for r in line):
                low, high = zip(*[r["return_ci95"] for r in line])
                axis.fill_between(x, low, high, color=COLOURS.get(algorithm), alpha=0.2, lw=0)
                # The band of a single point has no width.
                axis.vlines(x, low, high, color=COLOURS.get(algorithm), alpha=0.4, lw=1)
        axis.axhline(here[0]["expert_return"], color="black", ls=":", lw=1, label="expert")
        axis.set(title=game, xlabel="demonstration steps", xscale="log")
    axes[0][0].set_ylabel("return, mean per agent")
    axes[0][0].legend(frameon=False, fontsize=8)
    return _save(figure, path)


def _curves(series: list[dict[str, Any]], label: str, path: Path, log: bool) -> Path:
    games = list(dict.fromkeys(s["game"] for s in series))
    columns = min(3, len(games))
    rows = -(-len(games) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.8 * columns, 3.1 * rows + 0.4), squeeze=False, layout="constrained"
    )
    drawn = {}
    for axis, game in zip(axes.flat, games):
        for line in (s for s in series if s["game"] == game):
            x = [p["episodes"] or p["updates"] for p in line["points"]]
            colour = COLOURS.get(line["algorithm"])
            style = "--" if line["algorithm"] == "bc" else "-"
            (drawn[line["algorithm"]],) = axis.plot(x, [p["mean"] for p in line["points"]], style, color=colour)
            if all(p["ci95"] and p["ci95"][0] is not None for p in line["points"]):
                low, high = zip(*[p["ci95"] for p in line["points"]])
                axis.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
        # Learners need tens of episodes or a hundred thousand.
        axis.set(title=game, xlabel="episodes of play (bc: updates)", xscale="log")
        if log:
            axis.set_yscale("log")
        else:
            axis.set_ylim(0, 1.15 * axis.get_ylim()[1])
    for axis in axes.flat[len(games) :]:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel(label)
    named = [name for name in COLOURS if name in drawn]
    figure.legend([drawn[n] for n in named], named, loc="outside upper center", ncols=len(named), frameon=False)
    return _save(figure, path)


def _save(figure, path: Path) -> Path:
    figure.savefig(path)
    plt.close(figure)
    return path

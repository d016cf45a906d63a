"""Figures of the study of human pairs, from `results/study.json`.

python experiments/overcooked_humans/figures.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mairl.report.plots import COLOURS, plt, to_svg

RESULTS = Path(__file__).parent / "results"
MEASURES = (
    ("log_likelihood", "test log-likelihood, nats per action"),
    ("pair_return", "return of the learned pair"),
    ("first_with_proxy", "learned first player + human proxy"),
    ("second_with_proxy", "human proxy + learned second player"),
)


def bars(rows: list[dict]) -> str:
    """A panel per measure, a group per kitchen, a bar per learner, with 95% intervals; lines for people and proxies."""
    kitchens = sorted({r["kitchen"] for r in rows})
    learners = [n for n in ("bc", "iq-ma-joint", "ma-airl", "mamql") if any(r["learner"] == n for r in rows)]
    figure, axes = plt.subplots(2, 2, figsize=(9.5, 6), layout="constrained")
    for axis, (measure, label) in zip(axes.flat, MEASURES):
        for k, learner in enumerate(learners):
            for g, kitchen in enumerate(kitchens):
                row = next((r for r in rows if r["learner"] == learner and r["kitchen"] == kitchen), None)
                if row is None:
                    continue
                value = row[measure]
                low, high = value["ci95"]
                x = g + (k - (len(learners) - 1) / 2) * 0.19
                error = None if low is None else [[value["mean"] - low], [high - value["mean"]]]
                axis.bar(x, value["mean"], 0.17, color=COLOURS[k], yerr=error, label=learner if g == 0 else None)
        for g, kitchen in enumerate(kitchens):
            row = next(r for r in rows if r["kitchen"] == kitchen)
            if measure == "pair_return":
                axis.hlines(
                    row["people"], g - 0.42, g + 0.42, color="#495057", lw=1.2, label="people" if g == 0 else None
                )
            if measure != "log_likelihood":
                label_once = "two proxies" if g == 0 else None
                axis.hlines(row["proxy_with_proxy"], g - 0.42, g + 0.42, color="#868e96", ls=":", label=label_once)
        axis.set_xticks(range(len(kitchens)), [k.replace("_", " ") for k in kitchens])
        axis.set_title(label, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][1].legend(frameon=False, fontsize=8)
    return to_svg(figure, "likelihood and returns of learners of human pairs")


def payments(rows: list[dict]) -> str:
    """What recovered rewards pay for: a panel per kitchen and player, a bar per learner and event."""
    rows = [r for r in rows if r["pays_for"]]
    kitchens = sorted({r["kitchen"] for r in rows})
    learners = sorted({r["learner"] for r in rows})
    figure, axes = plt.subplots(
        len(kitchens), 2, figsize=(10, 3.2 * len(kitchens)), squeeze=False, layout="constrained"
    )
    for line, kitchen in zip(axes, kitchens):
        for player, axis in enumerate(line):
            names: list[str] = []
            for k, learner in enumerate(learners):
                row = next((r for r in rows if r["learner"] == learner and r["kitchen"] == kitchen), None)
                if row is None:
                    continue
                paid = row["pays_for"][f"cook_{player}"]
                names = list(paid)
                mean = np.array([paid[n]["mean"] for n in names])
                ends = [paid[n]["ci95"] for n in names]
                error = None
                if ends[0][0] is not None:
                    error = np.abs(np.array(ends).T - mean)
                x = np.arange(len(names)) + (k - (len(learners) - 1) / 2) * 0.25
                axis.bar(x, mean, 0.23, color=COLOURS[k], yerr=error, label=learner)
            axis.axhline(0, color="#495057", lw=0.6)
            axis.set_xticks(range(len(names)), names, fontsize=8, rotation=15)
            axis.set_title(f"{kitchen.replace('_', ' ')}, player {player + 1}", fontsize=10)
            axis.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel("reward, standard deviations")
    axes[0][0].legend(frameon=False, fontsize=8)
    return to_svg(figure, "what recovered rewards pay for")


def main() -> None:
    """Writes both."""
    rows = json.loads((RESULTS / "study.json").read_text())["rows"]
    (RESULTS / "returns.svg").write_text(bars(rows))
    (RESULTS / "payments.svg").write_text(payments(rows))


if __name__ == "__main__":
    main()

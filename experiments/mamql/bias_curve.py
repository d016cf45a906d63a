"""What φ's square costs MAMQL even with endless data: policy error and reward size over α, solved exactly.

    python experiments/mamql/bias_curve.py -o experiments/mamql/results

Random tabular games with five states and three actions, discount 0.9; the experts are their exact logit equilibria at
λ = 1. Two families: "two agents", joint rewards uniform in [-1, 1]; and "one agent", the reward scaled to a standard
deviation of 1 over its table. Writes `bias_curve.json` and `bias_curve.svg`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from pathlib import Path

import numpy as np

from mairl.algorithms.mamql_exact import exact_mamql, recovery
from mairl.algorithms.run_folder import provenance
from mairl.games.tabular import random_game
from mairl.metrics.intervals import mean_interval
from mairl.ops.equilibrium import logit_equilibrium

ALPHAS = (0.5, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
OBJECTIVES = {
    "default": {"chi2_on": "both", "value_term": "mixture"},
    "as printed": {"chi2_on": "expert", "value_term": "policy"},
}
FAMILIES = ("two agents", "one agent")
RATIONALITY = 1.0


def measure(family: str, seed: int) -> list[dict]:
    """One game: a row per objective and α, means over the agents."""
    if family == "two agents":
        tables = random_game(seed).tables()
    else:
        tables = random_game(seed, num_agents=1).tables()
        tables = tables.with_reward(tables.reward / tables.reward.std())
    expert = logit_equilibrium(tables, RATIONALITY).policies
    rows = []
    for name, options in OBJECTIVES.items():
        for alpha in ALPHAS:
            found = exact_mamql(tables, expert, rationality=RATIONALITY, alpha=alpha, **options)
            measured = {k: float(v.mean()) for k, v in recovery(tables, expert, found).items()}
            rows.append({"family": family, "seed": seed, "objective": name, "alpha": alpha, **measured})
    return rows


def summarise(rows: list[dict]) -> list[dict]:
    """Means over games with 95% intervals."""
    found = []
    for family, objective, alpha in dict.fromkeys((r["family"], r["objective"], r["alpha"]) for r in rows):
        group = [r for r in rows if (r["family"], r["objective"], r["alpha"]) == (family, objective, alpha)]
        entry = {"family": family, "objective": objective, "alpha": alpha, "games": len(group)}
        for name in ("policy_kl", "shrink", "shrink_corrected", "pearson"):
            mean, interval = mean_interval(np.array([r[name] for r in group]))
            entry |= {name: mean, f"{name}_ci95": interval}
        found.append(entry)
    return found


def draw(curve: list[dict]) -> str:
    """Policy error and reward size over α."""
    import matplotlib.pyplot as plt

    from mairl.report.plots import COLOURS, to_svg

    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.3), layout="constrained")
    for family, colour in zip(FAMILIES, COLOURS):
        for objective, style in zip(OBJECTIVES, ("-", "--")):
            part = [e for e in curve if e["family"] == family and e["objective"] == objective]
            alpha = [e["alpha"] for e in part]
            for axis, name, offset in ((axes[0], "policy_kl", 0.0), (axes[1], "shrink", 1.0)):
                mean = np.array([e[name] for e in part]) - offset
                low, high = np.array([e[f"{name}_ci95"] for e in part]).T - offset
                axis.plot(alpha, mean, style, color=colour, lw=1.8, label=f"{family}, {objective}")
                axis.fill_between(alpha, np.maximum(low, mean / 10), high, color=colour, alpha=0.15, lw=0)
    axes[1].plot(ALPHAS, [0.5 / a for a in ALPHAS], ":", color="#495057", lw=1.2, label="1 / 2αλ")
    axes[0].axhline(1e-3, color="#868e96", ls=":", lw=1)
    axes[0].set_ylabel("KL(expert ‖ learned), nats")
    axes[1].set_ylabel("true reward / recovered reward - 1")
    for axis in axes:
        axis.set(xscale="log", yscale="log", xlabel="α, in units of reward")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=7.5)
    return to_svg(figure, "policy error and reward size over alpha")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for bias_curve.json and bias_curve.svg")
    parser.add_argument("--games", type=int, default=20, help="seeded random games of each family")
    options = parser.parse_args()
    began = time.perf_counter()
    rows = [row for family in FAMILIES for seed in range(options.games) for row in measure(family, seed)]
    curve = summarise(rows)
    facts = {
        "command": f"python experiments/mamql/bias_curve.py {' '.join(sys.argv[1:])}",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **provenance(),
        "wall_s": round(time.perf_counter() - began, 1),
        "seeds": list(range(options.games)),
        "interval": "95%, Student's t over games",
        "rationality": RATIONALITY,
        "objectives": OBJECTIVES,
        "curve": curve,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bias_curve.json").write_text(json.dumps(facts, indent=1) + "\n")
    (options.out / "bias_curve.svg").write_text(draw(curve))
    for entry in curve:
        print({k: (float(f"{v:.4g}") if isinstance(v, float) else v) for k, v in entry.items() if "ci95" not in k})


if __name__ == "__main__":
    main()

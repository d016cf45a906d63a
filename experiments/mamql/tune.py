"""The same tuning effort for every learner of the tables: six configurations each, on one game, with two seeds.

    python experiments/mamql/tune.py --algorithms mamql,bc

Game: Gems with random layouts, where copying a sequence of actions is no use. Recordings and networks are the
tables'. Every configuration gets a share of the learner's budget there; the one with the best mean return of sampled
play is kept for all games. Results are added to `results/tuning.json` one configuration at a time; what is there
is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from mairl.algorithms.fit import fit
from mairl.algorithms.run_folder import provenance
from mairl.data import store
from mairl.data.collect import play_episodes
from mairl.games import make_game
from mairl.recipes import learner_recipe
from mairl.recipes.sweep import with_fields
from mairl.reproduce.mamql import demonstrations_for, write_result
from mairl.reproduce.mamql_shares import expert_returns

GAME, SHARE, SEEDS, EPISODES = "gems-random", 0.35, 2, 500

INVERSE_Q = [{"alpha": a, "learning_rate": r} for a in (1.0, 10.0, 100.0) for r in (3e-4, 1e-3)]
# Fields that differ from the recipe's.
ADVERSARIAL = [
    {},
    {"ppo.learning_rate": 3e-4},
    {"discriminator.learning_rate": 1e-3},
    {"discriminator.gradient_penalty": 1.0},
    {"reward": "logit"},
    {"discriminator.updates": 16, "discriminator.gradient_penalty": 1.0},
]
CONFIGURATIONS: dict[str, list[dict[str, Any]]] = {
    "mamql": INVERSE_Q,
    "iq-independent": INVERSE_Q,
    "iq-ma-joint": INVERSE_Q,
    "iq-ma-slice": INVERSE_Q,
    "ma-airl": ADVERSARIAL,
    "bc": [{"learning_rate": r, "weight_decay": w} for r in (3e-4, 1e-3, 3e-3) for w in (0.0, 1e-2)],
}


def measure(name: str, fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Mean return per agent of sampled and greedy play after the tuning budget."""
    demos = demonstrations_for(GAME, 20_000, folder, False)
    _, whole = learner_recipe(name, GAME)
    algorithm, budget = learner_recipe(name, GAME, int(SHARE * whole))
    game, start = make_game(GAME), time.perf_counter()
    result = fit(
        with_fields(algorithm, fields),
        game,
        store.load(demos),
        budget=budget,
        seeds=SEEDS,
        evaluations=4,
        episodes=0,
        select="last",
        progress=sys.stderr.isatty(),
    )
    row: dict[str, Any] = {"algorithm": name, "fields": fields, "budget": budget, "seeds": SEEDS}
    keys = jax.random.split(jax.random.key(7), SEEDS)
    for kind, greedy in (("sampled", False), ("greedy", True)):
        play = eqx.filter_vmap(lambda p, k, greedy=greedy: play_episodes(game, p, k, EPISODES, greedy).returns)
        row[kind] = np.asarray(eqx.filter_jit(play)(result.learned.policy, keys)).mean((1, 2)).tolist()
    return row | {
        "expert": float(expert_returns(GAME, (0,), 1000, False).mean()),
        "failures": len(result.failures),
        "wall_s": time.perf_counter() - start,
    }


def main() -> None:
    """Runs what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--algorithms", default=",".join(CONFIGURATIONS))
    parser.add_argument("--demos", type=Path, default=Path("runs/mamql"))
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).parent / "results" / "tuning.json")
    options = parser.parse_args()
    facts: dict[str, Any] = {"game": GAME, "share_of_budget": SHARE, "episodes": EPISODES, "rows": []}
    if options.out.exists():
        facts = json.loads(options.out.read_text())
    for name in options.algorithms.split(","):
        for fields in CONFIGURATIONS[name]:
            if any(r["algorithm"] == name and r["fields"] == fields for r in facts["rows"]):
                continue
            row = measure(name, fields, options.demos)
            made = provenance()
            facts["rows"].append(row | {key: made[key] for key in ("commit", "date")})
            facts.update(command="python experiments/mamql/tune.py", **made)
            write_result(options.out, facts)
            print(f"{name} {fields}: {np.mean(row['sampled']):.2f} of {row['expert']:.2f}, {row['wall_s']:.0f} s")


if __name__ == "__main__":
    main()

"""Per-player rewards and policies from people who play Overcooked together.

    pip install --no-deps overcooked-ai==1.1.0
    python experiments/overcooked_humans/study.py

For each kitchen and learner, ten seeds learn from the training trials. Reported, with 95% intervals over seeds:
likelihood of the test trials' actions, the return of the learned pair, the return of each learned player with a
human proxy (a clone of the test trials' people, as in Carroll et al. 2019) in the other seat, and what the
recovered reward pays for on test trials. `results/study.json` grows by one learner at a time; what is there is not
run again. `figures.py` draws it.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import functools
import json
import sys
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mairl.algorithms.fit import fit
from mairl.algorithms.run_folder import provenance
from mairl.core.policy import DiscretePolicy
from mairl.core.transition import observe
from mairl.data.collect import play_episodes
from mairl.games import make_game
from mairl.games.overcooked.human import human_demonstrations, read_trials
from mairl.games.overcooked.types import DISH, NOTHING, ONION, SOUP
from mairl.metrics.behaviour import action_fits
from mairl.metrics.intervals import mean_interval
from mairl.networks.rewards import reward_of
from mairl.recipes import learner_recipe

KITCHENS = ("cramped_room", "asymmetric_advantages")
BUDGET = {"bc": 500, "iq-ma-joint": 30_000, "ma-airl": 300_000, "mamql": 30_000}
"""Environment steps; for bc iterations of 16 updates."""

UPDATES = 8
"""Gradient updates of the inverse Q-learners per rollout of 64 steps."""

HELD_OUT, EVALUATIONS = 0.25, 10
"""Share of the training trials that a learner does not see: of `EVALUATIONS` states of its training, evenly spread,
each seed keeps the one under which these trials are likeliest. So few trials are soon overfitted, by cloning most."""

PROXY = 1_000
"""Iterations of the proxies' cloning, all test trials seen: a partner should act like these people, not like others."""

EPISODES, HORIZON = 200, 400
EVENTS = ("onion in pot", "dish taken", "soup filled", "soup served", "waits", "anything else")


class Seats(DiscretePolicy):
    """One player from one policy, the other from another."""

    first: DiscretePolicy
    second: DiscretePolicy

    def logits(self, obs):
        """See `DiscretePolicy.logits`."""
        return jnp.stack([self.first.logits(obs)[0], self.second.logits(obs)[1]])


def events(steps) -> np.ndarray:
    """`[n, player]` which of `EVENTS` each player's step is."""
    held, after = np.asarray(steps.state.held), np.asarray(steps.next_state.held)
    more = np.asarray(steps.next_state.onions).sum(-1) > np.asarray(steps.state.onions).sum(-1)
    acts, waits = np.asarray(steps.actions) == 5, np.asarray(steps.actions) == 4
    cases = [
        acts & (held == ONION) & (after == NOTHING) & more[:, None],
        acts & (held == NOTHING) & (after == DISH),
        acts & (held == DISH) & (after >= SOUP),
        acts & (held >= SOUP) & (after == NOTHING) & (np.asarray(steps.reward).sum(-1) > 0)[:, None],
        waits,
    ]
    return np.select(cases, range(len(cases)), default=len(cases))


def paid_for(learned, steps, seeds: int) -> dict[str, Any] | None:
    """Standardised recovered reward (mean 0, deviation 1 over test steps of each seed and player) by event."""
    reward = learned.induced_reward or learned.reward
    if reward is None:
        return None
    pay = eqx.filter_jit(eqx.filter_vmap(lambda r: reward_of(r, steps)))
    found = np.asarray(pay(reward))
    deviation = found.std(axis=1, keepdims=True)
    found = (found - found.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1.0)
    kind = events(steps)
    result: dict[str, Any] = {}
    for player in range(found.shape[2]):
        rows = {}
        for k, name in enumerate(EVENTS):
            at = kind[:, player] == k
            if at.any():
                mean, interval = mean_interval(found[:, at, player].mean(1))
                rows[name] = {"mean": mean, "ci95": interval, "steps": int(at.sum())}
        result[f"cook_{player}"] = rows
    return result


def interval(values) -> dict[str, Any]:
    """Mean and interval over seeds."""
    mean, ends = mean_interval(np.asarray(values))
    return {"mean": mean, "ci95": ends, "seeds": len(values)}


@functools.cache
def proxy(kitchen: str, path: Path | None):
    """A clone of the test trials' people: the partner that no learner has seen."""
    algorithm, _ = learner_recipe("bc", "overcooked", PROXY)
    test = human_demonstrations(read_trials(path), kitchen, "test")
    found = fit(
        algorithm,
        game_of(kitchen),
        test,
        budget=PROXY,
        seeds=[99],
        evaluations=1,
        episodes=0,
        held_out=None,
        select="last",
    )
    return jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, found.learned.policy)


def game_of(kitchen: str):
    """The game that the people played, without a clock in view."""
    return make_game(f"overcooked:layout={kitchen},horizon={HORIZON},observe_time=False")


def study(name: str, kitchen: str, path: Path | None, seeds: int, scale: float) -> dict[str, Any]:
    """All that is reported of one learner in one kitchen."""
    trials = read_trials(path)
    train, test = (human_demonstrations(trials, kitchen, split) for split in ("train", "test"))
    game = game_of(kitchen)
    budget = max(1, int(scale * BUDGET[name]))
    algorithm, budget = learner_recipe(name, "overcooked", budget)
    if name in ("iq-ma-joint", "mamql"):
        algorithm = dataclasses.replace(algorithm, updates=UPDATES)
    start = time.perf_counter()
    result = fit(
        algorithm,
        game,
        train,
        budget=budget,
        seeds=seeds,
        evaluations=EVALUATIONS,
        episodes=0,
        held_out=HELD_OUT,
        select="heldout",
        progress=sys.stderr.isatty(),
    )
    wall = time.perf_counter() - start
    learned = result.learned
    partner = proxy(kitchen, path)
    index = jnp.arange(test.num_steps)
    steps = eqx.filter_jit(lambda t: observe(game, t))(test.transition(index))
    steps = eqx.tree_at(
        lambda t: t.reward, steps, test.true_reward[test.steps[:, 0], test.steps[:, 1]], is_leaf=lambda x: x is None
    )
    likelihood, disagreement = (np.asarray(x) for x in action_fits(learned.policy, steps))
    keys = jax.random.split(jax.random.key(5), seeds)

    @eqx.filter_jit
    def returns(policy, seat):
        def one(policy, key):
            pairs = {"pair": policy, "first": Seats(policy, partner), "second": Seats(partner, policy)}
            return jnp.mean(jnp.sum(play_episodes(game, pairs[seat], key, EPISODES).returns, axis=1))

        return eqx.filter_vmap(one)(policy, keys)

    alone = Seats(partner, partner)
    people = np.asarray(test.true_reward).sum((1, 2)) / np.asarray(test.lengths) * HORIZON
    return {
        "learner": name,
        "kitchen": kitchen,
        "seeds": seeds,
        "budget": budget,
        "train_steps": train.num_steps,
        "train_trials": train.num_episodes,
        "kept_at": interval([kept_at(result.rows, s) for s in range(seeds)]),
        "test_steps": test.num_steps,
        "test_trials": test.num_episodes,
        "log_likelihood": interval(likelihood.mean(1)),
        "disagreement": interval(disagreement.mean(1)),
        "pair_return": interval(returns(learned.policy, "pair")),
        "first_with_proxy": interval(returns(learned.policy, "first")),
        "second_with_proxy": interval(returns(learned.policy, "second")),
        "proxy_with_proxy": float(
            jnp.mean(jnp.sum(eqx.filter_jit(play_episodes)(game, alone, keys[0], EPISODES).returns, axis=1))
        ),
        "people": float(people.mean()),
        "pays_for": paid_for(learned, steps, seeds),
        "failures": len(result.failures),
        "wall_s": wall,
    }


def frequencies(kitchen: str, path: Path | None) -> float:
    """Log-likelihood (nats per test action) of how often each player took each action in training: what the least of
    models knows."""
    train, test = (human_demonstrations(read_trials(path), kitchen, split) for split in ("train", "test"))
    taken, found = (np.asarray(d.actions)[d.steps[:, 0], d.steps[:, 1]] for d in (train, test))
    share = [(np.bincount(taken[:, i], minlength=6) + 1) / (len(taken) + 6) for i in range(2)]
    return float(np.mean([np.log(share[i][found[:, i]]).mean() for i in range(2)]))


def kept_at(rows, seed: int) -> float:
    """The share of training after which the seed's result was kept."""
    found = [r["heldout_log_likelihood"] for r in rows if r["seed"] == seed]
    return (1 + int(np.nanargmax(found))) / len(found)


def write(path: Path, facts: dict[str, Any]) -> None:
    """Writes all that is known so far, through a temporary name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(facts, indent=1))
    temporary.replace(path)


def main() -> None:
    """Runs what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=Path, help="folder of overcooked-ai 1.1.0, if it is not installed")
    parser.add_argument("--learners", default=",".join(BUDGET))
    parser.add_argument("--kitchens", default=",".join(KITCHENS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--scale", type=float, default=1.0, help="share of each budget")
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).parent / "results" / "study.json")
    options = parser.parse_args()
    facts: dict[str, Any] = {"rows": []}
    if options.out.exists():
        facts = json.loads(options.out.read_text())
    known = facts.setdefault("frequencies", {})
    for kitchen in options.kitchens.split(","):
        if kitchen not in known:
            known[kitchen] = frequencies(kitchen, options.trials)
            write(options.out, facts)
    for learner in options.learners.split(","):
        for kitchen in options.kitchens.split(","):
            if any(r["learner"] == learner and r["kitchen"] == kitchen for r in facts["rows"]):
                continue
            row = study(learner, kitchen, options.trials, options.seeds, options.scale)
            date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            command = "python experiments/overcooked_humans/study.py"
            facts["rows"].append(row | {"command": command, "date": date, **provenance()})
            write(options.out, facts)
            shown = ", ".join(f"{k} {row[k]['mean']:.2f}" for k in ("log_likelihood", "pair_return"))
            print(f"{learner} in {kitchen}: {shown}, people {row['people']:.0f}, {row['wall_s']:.0f} s", flush=True)


if __name__ == "__main__":
    main()

"""Everything that can be said about a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mairl.core.errors import InvalidData
from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import DiscretePolicy
from mairl.core.transition import Transition, observe
from mairl.data import store
from mairl.data.collect import play_episodes
from mairl.data.demonstrations import Demonstrations
from mairl.metrics.behaviour import action_fits, divergences
from mairl.metrics.identifiability import coverage
from mairl.metrics.intervals import mean_interval
from mairl.metrics.returns import returns_of
from mairl.metrics.reward_distance import compare
from mairl.networks.rewards import reward_of


def read_run(run: Path) -> tuple[dict[str, Any], Learned]:
    """A run's facts and its result (all seeds stacked).

    Raises:
        InvalidData: no complete run.
    """
    if not (run / "run.json").exists():
        partial = run.with_name(run.name + ".partial")
        hint = f": {partial} is unfinished, go on with mairl learn … --resume" if partial.exists() else ""
        raise InvalidData(f"{run} is no run{hint}")
    return json.loads((run / "run.json").read_text()), Learned.load(run / "learned")


def evaluate(
    learned: Learned,
    seeds: int,
    game: MarkovGame,
    data: Demonstrations | None,
    expert: DiscretePolicy | None,
    *,
    episodes: int = 1000,
    expert_greedy: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns, behaviour, rewards and what cannot be known, with intervals over seeds where there are several.

    Args:
        learned: results of `seeds` seeds, stacked.
        game: the game to measure in; host games and recordings are measured by likelihood only.
        data: what was learned from.
        expert: who acted, if known.
        expert_greedy: the expert's likeliest actions were recorded.
    """
    result: dict[str, Any] = {}
    if game.pure:
        result["returns"] = {
            "sampled": returns_of(learned.policy, game, seeds, episodes, False, seed),
            "greedy": returns_of(learned.policy, game, seeds, episodes, True, seed),
        }
        if expert is not None:
            stacked = jax.tree.map(lambda x: x[None] if eqx.is_array(x) else x, expert)
            own = returns_of(stacked, game, 1, episodes, expert_greedy, seed)
            result["returns"]["expert"] = own
            if own["mean"]:
                shares = np.asarray(result["returns"]["sampled"]["per_seed"]) / own["mean"]
                share, interval = mean_interval(shares)
                result["returns"]["share_of_expert"] = {"mean": share, "ci95": interval}
    if data is not None:
        result["behaviour"] = behaviour(learned, game, data, expert, seed)
        result["identifiability"] = coverage(data, game.action_space)
    if game.pure and (learned.reward is not None or learned.shaped_reward is not None):
        result["reward"] = rewards(learned, seeds, game, expert, seed)
    return result


def behaviour(learned, game, data: Demonstrations, expert, seed: int, limit: int = 4096) -> dict[str, Any]:
    """Behavioural error on the expert's states and on the learner's, with intervals over seeds."""
    index = jnp.asarray(np.random.default_rng(seed).permutation(data.num_steps)[:limit])
    steps = observe(game, data.observed(game).transition(index) if game.pure else data.transition(index))
    log_likelihood, disagreement = (np.asarray(x) for x in action_fits(learned.policy, steps))
    result = {
        "log_likelihood_of_demonstrations": _over_seeds(log_likelihood),
        "disagreement_with_demonstrations": _over_seeds(disagreement),
    }
    if expert is not None and isinstance(learned.policy, DiscretePolicy):
        kl, differ = (np.asarray(x) for x in divergences(expert, learned.policy, steps))
        result["on_expert_states"] = {"kl": _over_seeds(kl), "disagreement": _over_seeds(differ)}
        if game.pure:
            count = log_likelihood.shape[0]
            keys = jax.random.split(jax.random.key(seed + 5), count)
            kl, differ = (np.asarray(x) for x in _on_own_states(expert, learned.policy, game, keys))
            result["on_learner_states"] = {"kl": _over_seeds(kl), "disagreement": _over_seeds(differ)}
    return result


@eqx.filter_jit
def _on_own_states(expert, policy, game, keys, episodes: int = 32):
    from mairl.metrics.behaviour import divergence

    def one(policy, key):
        steps = play_episodes(game, policy, key, episodes).steps
        return divergence(expert, policy, observe(game, _flat(steps)))

    return eqx.filter_vmap(one)(policy, keys)


def _flat(steps: Transition) -> Transition:
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps)


@eqx.filter_jit
def _paid(learned, game, expert, keys, episodes: int):
    """Recovered and true rewards on half the expert's and half the learner's episodes (the learner's own, without an
    expert)."""

    def one(learned, key):
        key_own, key_expert = jax.random.split(key)
        steps = [_flat(play_episodes(game, learned.policy, key_own, episodes).steps)]
        if expert is not None:
            steps.append(_flat(play_episodes(game, expert, key_expert, episodes).steps))
        steps = observe(game, jax.tree.map(lambda *x: jnp.concatenate(x), *steps))
        found = {}
        for name in ("induced_reward", "reward", "shaped_reward"):
            reward = getattr(learned, name)
            if reward is not None:
                found[name] = reward_of(reward, steps.obs, steps.actions, steps.next_obs, steps.terminated, 1)
        return found, steps.reward, steps.mask, steps.actions

    return eqx.filter_vmap(one)(learned, keys)


def rewards(learned: Learned, seeds: int, game, expert, seed: int, episodes: int = 24) -> dict[str, Any]:
    """Distances of each recovered reward from the true one, by agent, with intervals over seeds; what it pays by true
    reward; and a sample of pairs to draw."""
    keys = jax.random.split(jax.random.key(seed + 9), seeds)
    found, truth, mask, actions = jax.tree.map(np.asarray, _paid(learned, game, expert, keys, episodes))
    result: dict[str, Any] = {}
    for name, values in found.items():
        by_seed = [compare(values[s], truth[s], mask[s]) for s in range(seeds)]
        result[name] = [
            {
                measure: _maybe([one[agent][measure] for one in by_seed])
                for measure in ("affine_mse", "unexplained", "pearson", "spearman", "pearson_distance")
            }
            | {"found_constant": any(one[agent]["found_constant"] for one in by_seed)}
            for agent in range(truth.shape[-1])
        ]
    if not found:
        return result
    first = next(iter(found))
    result["headline"] = first
    result["pays"] = _pays(found[first][0], truth[0], mask[0], actions[0], game)
    take = np.random.default_rng(0).permutation(truth.shape[1])[:400]
    result["pairs"] = [
        [[float(truth[0, k, i]), float(found[first][0, k, i])] for k in take if mask[0, k, i]]
        for i in range(truth.shape[-1])
    ]
    return result


def _pays(found, truth, mask, actions, game) -> dict[str, Any]:
    """Mean recovered reward by true reward, and by action, for each agent."""
    names = game.action_names()
    by_truth, by_action = [], []
    for i in range(truth.shape[1]):
        here, f, t = mask[:, i], found[:, i], truth[:, i]
        levels = np.unique(np.round(t[here], 4))
        if len(levels) > 12:  # many values: equal shares of the steps, in order of the true reward
            groups = [np.flatnonzero(here)[part] for part in np.array_split(np.argsort(t[here]), 6)]
        else:
            groups = [np.flatnonzero(here & (np.abs(t - level) < 1e-3)) for level in levels]
        rows = [
            {"true": float(t[at].mean()), "recovered": float(f[at].mean()), "steps": len(at)}
            for at in groups
            if len(at)
        ]
        by_truth.append(rows)
        if actions.ndim == 2:
            taken = [here & (actions[:, i] == a) for a in range(len(names))]
            by_action.append(
                [
                    {"action": names[a], "recovered": float(f[at].mean()), "steps": int(at.sum())}
                    for a, at in enumerate(taken)
                    if at.any()
                ]
            )
    return {"by_true_reward": by_truth, "by_action": by_action}


def _over_seeds(values: np.ndarray) -> dict[str, Any]:
    """Mean over agents with its interval over seeds, and each agent's mean; `values` are `[seed, agent]`."""
    mean, interval = mean_interval(values.mean(1))
    return {"mean": mean, "ci95": interval, "per_agent": values.mean(0).tolist()}


def _maybe(values: list[float | None]) -> dict[str, Any]:
    known = [v for v in values if v is not None]
    if not known:
        return {"mean": None, "ci95": [None, None]}
    mean, interval = mean_interval(np.asarray(known))
    return {"mean": mean, "ci95": interval}


def expert_of(demos: str | Path | None) -> Learned | None:
    """The policy saved beside a recording, if there is one."""
    folder = Path(demos) / "expert" if demos else None
    return Learned.load(folder) if folder is not None and (folder / "learned.json").exists() else None


def load_demos(facts: dict[str, Any]) -> Demonstrations | None:
    """What a run was learned from, if it is still there."""
    path = facts.get("demos")
    if not path or not Path(path).is_dir():
        return None
    data = store.load(path)
    steps = facts.get("demo_steps")
    return data.head(steps) if steps and steps < data.num_steps else data

"""Everything that can be said about a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mairl.core.errors import InvalidData, Unsupported
from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import DiscretePolicy, NoisyPolicy
from mairl.core.transition import observe
from mairl.data import store
from mairl.data.collect import play_episodes
from mairl.data.demonstrations import Demonstrations
from mairl.driving.game import Driving
from mairl.games.tabular.game import TabularGame
from mairl.metrics import exploitability
from mairl.metrics.behaviour import action_fits, divergence, divergences
from mairl.metrics.driving import driving_metrics
from mairl.metrics.identifiability import coverage
from mairl.metrics.intervals import mean_interval
from mairl.metrics.returns import returns_of
from mairl.metrics.reward_sample import flat
from mairl.metrics.rewards import rewards


def read_run(run: Path) -> tuple[dict[str, Any], Learned]:
    """A run's facts and its result (all seeds stacked).

    Raises:
        InvalidData: no complete run, or a damaged one.
    """
    if not (run / "run.json").exists():
        partial = run.with_name(run.name + ".partial")
        hint = f": {partial} is unfinished, go on with mairl learn … --resume" if partial.exists() else ""
        raise InvalidData(f"{run} is no run{hint}")
    return read_json(run / "run.json", "learn again"), Learned.load(run / "learned")


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InvalidData: it is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InvalidData(f"{path} cannot be read ({error}): {remedy}") from error
    if not isinstance(found, dict):
        raise InvalidData(f"{path} holds no JSON object: {remedy}")
    return found


def evaluate(
    learned: Learned,
    seeds: int,
    game: MarkovGame,
    data: Demonstrations | None,
    expert: DiscretePolicy | None,
    *,
    episodes: int = 1000,
    expert_greedy: bool = False,
    held_out: float | None = None,
    discount: float = 0.97,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns, behaviour, rewards and what cannot be known, with intervals over seeds where there are several.

    Args:
        learned: results of `seeds` seeds, stacked.
        game: the game to measure in; host games and recordings are measured by likelihood only.
        data: what was learned from.
        expert: who acted, if known.
        expert_greedy: the expert's likeliest actions were recorded: they are the behaviour to be matched.
        held_out: share of the episodes that learning did not see, which likelihood is measured on.
        discount: γ of shaping, as the learner had it.

    Raises:
        Unsupported: no episodes to play.
    """
    if episodes < 1:
        raise Unsupported(f"episodes must be at least 1, got {episodes}")
    result: dict[str, Any] = {}
    if game.pure:
        result["returns"] = returns(learned, seeds, game, expert, episodes, expert_greedy, seed)
    if data is not None:
        shown = NoisyPolicy(expert, 0.0, True) if expert is not None and expert_greedy else expert
        result["behaviour"] = behaviour(learned, game, data, shown, held_out, seed)
        result["identifiability"] = coverage(data, game.action_space)
    if game.pure and (learned.reward is not None or learned.shaped_reward is not None):
        result["reward"] = rewards(learned, seeds, game, expert, seed, expert_greedy=expert_greedy, discount=discount)
    if isinstance(game, Driving):
        result["driving"] = driving(learned, seeds, game, seed)
    if isinstance(game, TabularGame) and isinstance(learned.policy, DiscretePolicy):
        result["exploitability"] = exploitability.exact(game, learned, seeds)
    return result


def returns(learned, seeds: int, game, expert, episodes: int, expert_greedy: bool, seed: int) -> dict[str, Any]:
    """What the learned policies earn, sampled and greedy, and as a share of what the expert earns."""
    result: dict[str, Any] = {
        "sampled": returns_of(learned.policy, game, seeds, episodes, False, seed),
        "greedy": returns_of(learned.policy, game, seeds, episodes, True, seed),
    }
    if expert is None:
        return result
    stacked = jax.tree.map(lambda x: x[None] if eqx.is_array(x) else x, expert)
    own = returns_of(stacked, game, 1, episodes, expert_greedy, seed)
    result["expert"] = own
    if own["mean"]:
        # The expert's own error, over episodes, belongs to the share: it is added in squares.
        shares = np.asarray(result["sampled"]["per_seed"]) / own["mean"]
        share, interval = mean_interval(shares)
        if interval[0] is not None:
            half = np.hypot((interval[1] or 0) - share, share * own["half_width_over_episodes"] / abs(own["mean"]))
            interval = [share - float(half), share + float(half)]
        result["share_of_expert"] = {"mean": share, "ci95": interval}
    return result


def driving(learned, seeds: int, game: Driving, seed: int) -> dict[str, Any]:
    """Rates, distances from the logs and divergences of `driving_metrics`, each with its interval over seeds."""
    each = [
        driving_metrics(game, jax.tree.map(lambda x, k=k: x[k] if eqx.is_array(x) else x, learned.policy), seed)
        for k in range(seeds)
    ]
    rows = [
        {**{k: v for k, v in one.items() if k != "jsd"}, **{f"jsd_{k}": v for k, v in one["jsd"].items()}}
        for one in each
    ]
    result: dict[str, Any] = {"controlled_agents": rows[0].pop("controlled_agents")}
    for name in rows[0]:
        values = np.array([np.nan if one[name] is None else one[name] for one in rows])
        mean, interval = mean_interval(values) if np.isfinite(values).all() else (None, [None, None])
        # A t-interval of a few seeds may reach beyond what a share, a distance or a divergence can be.
        most = 1.0 if name.endswith("_rate") else np.inf
        interval = [None if x is None else float(np.clip(x, 0.0, most)) for x in interval]
        result[name] = {"mean": mean, "ci95": interval}
    return result


def behaviour(
    learned, game, data: Demonstrations, expert, held_out: float | None, seed: int, limit: int = 4096
) -> dict[str, Any]:
    """Behavioural error on the expert's states and on the learner's, with intervals over seeds.

    Returns:
        "log_likelihood" (nats per recorded action) and "disagreement" with it, "steps" that they are from and whether
        those were "held_out"; with a known expert, KL and disagreement "on_expert_states" and "on_learner_states".
    """
    unseen = False
    if held_out and data.num_episodes >= 2:
        unseen = True
        data = data.split(held_out)[1]
    index = jnp.asarray(np.random.default_rng(seed).permutation(data.num_steps)[:limit])
    steps = observe(game, data.observed(game).transition(index) if game.pure else data.transition(index))
    log_likelihood, differ = (np.asarray(x) for x in action_fits(learned.policy, steps))
    result: dict[str, Any] = {
        "steps": len(index),
        "held_out": unseen,
        "log_likelihood": _over_seeds(log_likelihood),
        "disagreement": _over_seeds(differ, 0.0),
    }
    if expert is None or not isinstance(learned.policy, DiscretePolicy):
        return result
    kl, differ = (np.asarray(x) for x in divergences(expert, learned.policy, steps))
    result["on_expert_states"] = {"kl": _over_seeds(kl, 0.0), "disagreement": _over_seeds(differ, 0.0)}
    if game.pure:
        keys = jax.random.split(jax.random.key(seed + 5), log_likelihood.shape[0])
        kl, differ = (np.asarray(x) for x in _on_own_states(expert, learned.policy, game, keys))
        result["on_learner_states"] = {"kl": _over_seeds(kl, 0.0), "disagreement": _over_seeds(differ, 0.0)}
    return result


@eqx.filter_jit
def _on_own_states(expert, policy, game, keys, episodes: int = 32):
    def one(policy, key):
        steps = play_episodes(game, policy, key, episodes).steps
        return divergence(expert, policy, observe(game, flat(steps)))

    return eqx.filter_vmap(one)(policy, keys)


def _over_seeds(values: np.ndarray, least: float | None = None) -> dict[str, Any]:
    """Mean over agents with its interval over seeds, and each agent's mean; `values` are `[seed, agent]`, NaN where an
    agent took no part. No interval reaches below `least`."""
    known = np.isfinite(values)
    count = known.sum(1)
    each = np.where(count > 0, np.where(known, values, 0.0).sum(1) / np.maximum(count, 1), np.nan)
    mean, interval = mean_interval(each)
    if least is not None and interval[0] is not None:
        interval = [max(least, interval[0]), interval[1]]
    agents = [float(v[np.isfinite(v)].mean()) if np.isfinite(v).any() else None for v in values.T]
    return {"mean": mean, "ci95": interval, "per_agent": agents}


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

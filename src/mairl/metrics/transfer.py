"""Is a recovered reward worth learning from? Fresh agents learn from it alone and are measured by the true one.

A reward that a critic or a discriminator implies is a guess wherever nothing was recorded, and whoever learns from it
goes where the guess is high. Rewards of independent runs (seeds) agree where the recording decides and differ where
they guess, so that their mean less their spread (`CautiousReward`) pays least where the least is known.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mairl.algorithms.dqn import DQN
from mairl.algorithms.fit import fit
from mairl.algorithms.maddpg import MADDPG
from mairl.algorithms.ppo import PPO
from mairl.core.game import MarkovGame
from mairl.core.policy import Policy, UniformPolicy
from mairl.core.reward import Reward
from mairl.core.stacked import one_of
from mairl.data.collect import play_compiled
from mairl.games.rewarded import RewardedGame
from mairl.networks.rewards import CautiousReward, ScaledReward

DEVIATION = 0.3
"""Of what is paid a step in random play: returns are then numbers around 1, which critics and steps are made for."""


@dataclasses.dataclass(frozen=True)
class Transfer:
    """How fresh agents fare, one number per seed, means per agent.

    Attributes:
        returns: of the true reward.
        paid: of the recovered reward, as a multiple of its deviation in random play, times `DEVIATION`.
        paid_to_learned: what the learned policies earn of it.
    """

    returns: list[float]
    paid: list[float]
    paid_to_learned: list[float]


def spread_at_random(game: MarkovGame, payment: Reward, episodes: int = 200) -> float:
    """The standard deviation of a reward over steps and agents of random play; 1 where it does not vary."""
    world = RewardedGame(game, payment)
    steps = play_compiled(world, UniformPolicy(game.num_agents, game.action_space), jax.random.key(401), episodes).steps
    deviation = float(np.std(np.asarray(steps.reward)[np.asarray(steps.mask)]))
    return deviation if deviation > 0 else 1.0


def scaled(game: MarkovGame, payment: Reward, episodes: int = 200) -> ScaledReward:
    """A reward in such units that it varies by `DEVIATION` in random play: a recovered one has a scale of its own."""
    return ScaledReward(payment, jnp.float32(DEVIATION / spread_at_random(game, payment, episodes)))


def cautious(game: MarkovGame, payments: Reward, count: int, caution: float, episodes: int = 200) -> CautiousReward:
    """The mean over `count` seeds' rewards, each scaled, less `caution` times their standard deviation.

    Args:
        payments: stacked on the first axis.
    """
    spreads = jnp.array([spread_at_random(game, one_of(payments, i), episodes) for i in range(count)])
    return CautiousReward(payments, 1.0 / spreads, jnp.float32(caution))


def transfer(
    game: MarkovGame,
    payments: Sequence[Reward],
    policies: Sequence[Policy],
    learner: PPO | DQN | MADDPG,
    *,
    budget: int,
    discount: float,
    episodes: int = 200,
    progress: bool = False,
    keep: Path | None = None,
) -> Transfer:
    """Trains fresh agents on each recovered reward, by the learner of the game's expert.

    Args:
        game: whose true reward measures.
        payments, policies: rewards, and the learned policies that they are to be compared with, one per seed.
        learner: its rates fall over `budget`; payments are scaled (`scaled`), so that its own scale does not matter.
        budget: environment steps.
        discount: under which the reward was recovered: it may be shaped by values under it.
        episodes: measured per seed.
        keep: a file for seeds that are done, until all are: those that it has, of the same rewards and settings, are
            not trained again. Whoever has saved the result removes it.
    """
    kind: Any = _over(learner, game, budget)
    kind = dataclasses.replace(kind, discount=discount)
    if hasattr(kind, "reward_scale"):
        kind = dataclasses.replace(kind, reward_scale=1.0)
    asked = _digest(game, kind, budget, episodes, list(payments), list(policies))
    done = _kept(keep, asked)
    for i, (payment, learned) in list(enumerate(zip(payments, policies)))[len(done) :]:
        world = RewardedGame(game, scaled(game, payment, episodes))
        policy = _trained(kind, world, i, budget, progress)
        returns, paid = _mean_return(game, policy, 500 + i, episodes), _mean_return(world, policy, 600 + i, episodes)
        done.append((returns, paid, _mean_return(world, learned, 700 + i, episodes)))
        if keep is not None:
            temporary = keep.with_suffix(".tmp")
            temporary.write_text(json.dumps({"asked": asked, "seeds": done}), encoding="utf-8")
            temporary.replace(keep)
    return Transfer(*(list(column) for column in zip(*done)))


def yardsticks(
    game: MarkovGame,
    learner: PPO | DQN | MADDPG,
    *,
    budget: int,
    seeds: int = 2,
    episodes: int = 200,
    progress: bool = False,
) -> tuple[float, float]:
    """What the same learner earns when it is paid the true reward, and what random play earns."""
    kind = _over(learner, game, budget)
    paid_truly = [
        _mean_return(game, _trained(kind, game, i, budget, progress), 500 + i, episodes) for i in range(seeds)
    ]
    return float(np.mean(paid_truly)), _mean_return(
        game, UniformPolicy(game.num_agents, game.action_space), 400, episodes
    )


def _digest(*asked: Any) -> str:
    """Says whether the same was asked for: arrays by their bytes, all else by what it prints as."""
    leaves, structure = jax.tree.flatten(asked)
    parts = [np.asarray(x).tobytes() if eqx.is_array_like(x) else repr(x).encode() for x in leaves]
    return hashlib.sha256(b"\n".join([str(structure).encode(), *parts])).hexdigest()[:16]


def _kept(keep: Path | None, asked: str) -> list[tuple[float, ...]]:
    """Numbers of the seeds that a file has, if it is of what is asked for."""
    if keep is None or not keep.exists():
        return []
    found = json.loads(keep.read_text(encoding="utf-8"))
    return [tuple(seed) for seed in found["seeds"]] if found["asked"] == asked else []


def discount_of(facts: dict[str, Any], default: float) -> float:
    """The discount that a run (its `run.json`) learned with; of adversarial learners that of their PPO."""
    config = facts.get("algorithm", {}).get("config", {})
    return {"discount": default, **(config.get("ppo") or {}), **config}["discount"]


def normalised(value: float, random: float, best: float) -> float | None:
    """0 as random play, 1 as when paid the true reward; None where these are equal."""
    return (value - random) / (best - random) if best != random else None


def _over(learner, game: MarkovGame, budget: int):
    collection = learner.collection(game)
    assert collection is not None
    return dataclasses.replace(learner, anneal_updates=max(1, budget // collection.size))


def _trained(learner, world: MarkovGame, seed: int, budget: int, progress: bool) -> Policy:
    return (
        fit(learner, world, budget=budget, seeds=[seed], evaluations=4, episodes=0, select="last", progress=progress)
        .one()
        .policy
    )


def _mean_return(world: MarkovGame, policy: Policy, seed: int, episodes: int) -> float:
    return float(np.mean(np.asarray(play_compiled(world, policy, jax.random.key(seed), episodes).returns)))

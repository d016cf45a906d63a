"""What the inverse Q-learners share: refusals, the ring of past play, and the steps of one update."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame
from mairl.core.spaces import Discrete
from mairl.core.transition import Transition, hide_reward, observe
from mairl.data.collect import step_zeros
from mairl.data.demonstrations import Demonstrations
from mairl.data.replay import Replay


class Batch(eqx.Module):
    """The steps of one gradient step, `[batch, ...]`, with observations.

    Attributes:
        expert: recorded steps, and `index`, their numbers in the recording.
        played: of the learner; None offline.
        starts: recorded first steps; None where they are not asked for.
    """

    expert: Transition
    index: Int[Array, " batch"]
    played: Transition | None
    starts: Transition | None


def draw(
    key: Key[Array, ""], game: MarkovGame, data: Demonstrations, replay: Replay | None, batch: int, value_term: str
) -> Batch:
    """`batch` steps of each kind, uniform with replacement; first steps only for the "initial" value term."""
    key_expert, key_replay, key_start = jax.random.split(key, 3)
    index = jax.random.randint(key_expert, (batch,), 0, data.num_steps)
    return Batch(
        observe(game, data.transition(index)),
        index,
        None if replay is None else observe(game, replay.sample(key_replay, batch)),
        observe(game, data.first(key_start, batch)) if value_term == "initial" else None,
    )


def new_replay(game: MarkovGame, block: int, capacity: int) -> Replay:
    """An empty ring that holds whole rollouts of `block` steps, at least one."""
    return Replay.like(step_zeros(game), max(1, capacity // block) * block)


def with_play(replay: Replay | None, rollout: Transition | None) -> Replay | None:
    """The ring with a rollout `[time, env, ...]` added, its true reward left out; None offline."""
    if replay is None:
        return None
    assert rollout is not None
    return replay.add(hide_reward(rollout).flat())


def check_inverse_q(name: str, game: MarkovGame, data: Demonstrations | None, offline: bool, value_term: str) -> None:
    """What every inverse Q-learner refuses, with the reason."""
    if data is None:
        raise Unsupported(f"{name} learns from demonstrations: give it some")
    if not isinstance(game.action_space, Discrete):
        raise Unsupported(f"{name} enumerates actions: it needs discrete ones (for vectors use ma-gail or ma-airl)")
    if offline and value_term in ("mixture", "policy"):
        raise Unsupported(
            f"offline, value_term={value_term!r} has no rollouts to average over: use 'expert' or 'initial'"
        )
    # E[V(s) - γ V(s')] over the steps of episodes that terminate is not (1 - γ) E[V(s_0)].
    if value_term == "initial" and (ended := int(jnp.sum(jnp.any(data.terminated, axis=(1, 2))))):
        raise Unsupported(
            f"value_term='initial' is for games that only a time limit ends, and {ended} of {data.num_episodes} "
            "recorded episodes terminate: use 'expert' or 'mixture'"
        )

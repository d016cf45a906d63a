"""The part of a game's contract that is about the features of its reward."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from mairl.core.game import MarkovGame, TimeStep
from mairl.testing.violation import need


def check_features(
    game: MarkovGame,
    states: Any,
    next_states: Any,
    steps: TimeStep,
    alive: Array,
    actions: Array,
    tolerance: float = 1e-4,
) -> None:
    """Where the game names features of its reward: they have the declared shape, and their product with the declared
    weights is the reward of every agent that took part. The arguments are what `rollout` returned."""
    names = game.feature_names()
    if not names:
        return
    weights = np.asarray(game.feature_weights(), np.float64)
    want = (game.num_agents, len(names))
    need(len(set(names)) == len(names), f"feature_names must be distinct, got {names}")
    need(weights.shape == want, f"feature_weights must have shape {want} [agent, feature], got {weights.shape}")
    measure = jax.jit(jax.vmap(jax.vmap(game.features)))
    found = np.asarray(measure(states, actions, next_states), np.float64)
    need(found.shape[2:] == want, f"features must have shape {want} [agent, feature], got {found.shape[2:]}")
    mask, reward = np.asarray(steps.mask) & np.asarray(alive)[..., None], np.asarray(steps.reward, np.float64)
    apart = mask & ~np.isclose(np.sum(found * weights, axis=-1), reward, tolerance, tolerance)
    at = tuple(np.argwhere(apart)[0]) if apart.any() else (0, 0, 0)
    need(
        not apart.any(),
        f"features · weights is {np.sum(found[at] * weights[at[2]]):.6g} where agent {at[2]} was paid "
        f"{reward[at]:.6g}, at step {at[0]}; in all in {apart.sum()} of {mask.sum()} steps",
    )

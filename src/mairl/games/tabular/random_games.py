"""Random tabular games, by a seed."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mairl.core.errors import InvalidGame
from mairl.games.tabular.game import TabularGame


def random_game(
    seed: int = 0,
    *,
    num_states: int = 5,
    num_actions: int = 3,
    num_agents: int = 2,
    kind: Literal["general-sum", "cooperative", "zero-sum"] = "general-sum",
    deterministic: bool = False,
    separable: bool = False,
    num_terminal: int = 0,
    horizon: int = 50,
    discount: float = 0.9,
) -> TabularGame:
    """A game with uniformly random transitions and rewards, started in a uniformly random state.

    Args:
        kind: rewards are independent, all equal, or (two agents only) opposite. Each is uniform in [-1, 1].
        deterministic: each joint action leads to one random state; otherwise rows are Dirichlet(1).
        separable: r_i(s, a) = own_i(s, a_i) + Σ_j≠i other_ij(s, a_j): the form in which an agent's reward can be
            told apart from its mean over the others. Its range is then [-n, n].
        num_terminal: the last so many states are terminal, and no start.
    """
    if kind not in ("general-sum", "cooperative", "zero-sum"):
        raise InvalidGame(f"unknown kind {kind!r}: use 'general-sum', 'cooperative' or 'zero-sum'")
    if kind == "zero-sum" and num_agents != 2:
        raise InvalidGame(f"zero-sum games have 2 agents, got {num_agents}")
    if not 0 <= num_terminal < num_states:
        raise InvalidGame(f"num_terminal must be in [0, num_states), got {num_terminal} of {num_states}")
    rng = np.random.default_rng(seed)
    shape = (num_states, *[num_actions] * num_agents)
    if deterministic:
        transitions = np.eye(num_states)[rng.integers(num_states, size=shape)]
    else:
        transitions = rng.dirichlet(np.ones(num_states), size=shape)
    if separable:
        reward = np.zeros((*shape, num_agents))
        for actor in range(num_agents):
            part = rng.uniform(-1, 1, (num_states, num_actions, num_agents))
            axes = [1] * num_agents
            axes[actor] = num_actions
            reward += part.reshape(num_states, *axes, num_agents)
    else:
        reward = rng.uniform(-1, 1, (*shape, num_agents))
    if kind == "cooperative":
        reward = np.repeat(reward[..., :1], num_agents, axis=-1)
    elif kind == "zero-sum":
        reward = np.stack([reward[..., 0], -reward[..., 0]], axis=-1)
    terminal = np.arange(num_states) >= num_states - num_terminal
    start = ~terminal / np.sum(~terminal)
    return TabularGame(transitions, reward, start, terminal, horizon=horizon, discount=discount)

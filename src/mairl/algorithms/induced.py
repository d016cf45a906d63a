"""Fresh agents that learn from a reward: what it makes them do says what it is worth."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mairl.data.exact_learning import exact_learning
from mairl.ops.host_softmax import softmax
from mairl.ops.linear_game import LinearGame
from mairl.ops.tables import Tables

STEPS = 50
TEMPERATURE = 2.0
"""In standard deviations of the reward. Colder agents circle in competitive games, and end here or there."""

FRESH = 1000
"""Added to a case's seed: fresh agents start elsewhere than those that were watched."""


def induced_policies(
    tables: Tables, rewards: Float[np.ndarray, "state *joint agent"], seed: int
) -> Float[np.ndarray, "agent state action"]:
    """The policies of agents that improve softly `STEPS` times on `rewards`, from random ones.

    Rewards have no known scale: each agent's is brought to a standard deviation of 1 over all states and joint actions.
    """
    spread = rewards.reshape(-1, tables.num_agents).std(axis=0)
    scaled = rewards / np.where(spread > 0, spread, 1.0)
    game = LinearGame.of(tables, scaled[..., None])
    weights = np.ones((tables.num_agents, 1)) / TEMPERATURE
    history = exact_learning(game, "ma-spi", weights, 0.0, transitions=STEPS, seed=FRESH + seed)
    return softmax(history.logits()[-1])

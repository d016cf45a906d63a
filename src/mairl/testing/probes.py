"""Probe games: each isolates one thing that a learner must get right, and its answer is known.

A learner that fails a probe has a fault in what the probe's `asks` names. Answers are worked by hand (see each
function); tests hold them against exact solutions.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from mairl.games.tabular import TabularGame


@dataclasses.dataclass(frozen=True)
class Probe:
    """A game with its answer.

    Attributes:
        name: short.
        asks: what a learner needs to solve it.
        game: the game; terminal states are its last ones.
        policies: `[agent, state, action]`, a Nash equilibrium (for cooperative probes: the best one). Rows of terminal
            states mean nothing.
        values: `[agent, state]`, discounted values under `policies`; 0 at terminal states.
    """

    name: str
    asks: str
    game: TabularGame
    policies: Float[np.ndarray, "agent state action"]
    values: Float[np.ndarray, "agent state"]


def bandit(num_agents: int = 2) -> Probe:
    """One state, one step: action a pays a / 2 (a = 0, 1, 2) to the agent that takes it.

    The best action is 2, worth 1. Softly, π(a) ∝ exp(λ a / 2).
    """
    reward = _one_shot(num_agents, 3, lambda actions: [a / 2 for a in actions])
    policies = np.tile(np.eye(3)[2], (num_agents, 2, 1))
    return Probe(
        "bandit",
        "learn immediate rewards, one value per action",
        TabularGame(_to_last(2, num_agents, 3), reward, terminal=[False, True], horizon=5),
        policies,
        np.tile([1.0, 0.0], (num_agents, 1)),
    )


def two_steps(discount: float = 0.9) -> Probe:
    """One agent. State 0 leads to state 1 (action 0) or 2 (action 1); leaving state 2 pays 1, leaving state 1 nothing.

    The first action pays nothing by itself: its worth, γ, has to come back from the next state.
    """
    transitions = np.zeros((4, 2, 4))
    transitions[0, 0, 1] = transitions[0, 1, 2] = 1
    transitions[1:, :, 3] = 1
    reward = np.zeros((4, 2, 1))
    reward[2] = 1
    policies = np.full((1, 4, 2), 0.5)
    policies[0, 0] = [0, 1]
    return Probe(
        "two_steps",
        "credit an action for what the next state is worth",
        TabularGame(transitions, reward, terminal=[False, False, False, True], horizon=5, discount=discount),
        policies,
        np.array([[discount, 0, 1, 0]]),
    )


def roles() -> Probe:
    """Both see the same; agent 0 is paid 1 for action 0, agent 1 for action 1. One policy for both cannot do it."""
    reward = _one_shot(2, 2, lambda actions: [float(actions[0] == 0), float(actions[1] == 1)])
    policies = np.stack([np.tile([1.0, 0.0], (2, 1)), np.tile([0.0, 1.0], (2, 1))])
    return Probe(
        "roles",
        "keep the agents' policies and rewards apart",
        TabularGame(_to_last(2, 2, 2), reward, terminal=[False, True], horizon=5),
        policies,
        np.array([[1.0, 0.0], [1.0, 0.0]]),
    )


def cooperative() -> Probe:
    """Both are paid 1 if both choose action 1, 0.5 if both choose 0, else nothing. The best is 1."""
    reward = _one_shot(2, 2, lambda a: [float(a[0] == a[1]) * (0.5 + 0.5 * a[0])] * 2)
    return Probe(
        "cooperative",
        "coordinate, and recover one reward for both",
        TabularGame(_to_last(2, 2, 2), reward, terminal=[False, True], horizon=5),
        np.tile([0.0, 1.0], (2, 2, 1)),
        np.array([[1.0, 0.0], [1.0, 0.0]]),
    )


def zero_sum() -> Probe:
    """Agent 0 is paid 2 at (0, 0), 1 at (1, 1), -1 otherwise, agent 1 the opposite.

    Agent 1 is indifferent where 2p - (1 - p) = -p + (1 - p): p = 2/5 for action 0, and likewise for agent 1. The
    value is 3 · 2/5 - 1 = 1/5.
    """
    pays = np.array([[2.0, -1.0], [-1.0, 1.0]])
    reward = _one_shot(2, 2, lambda a: [pays[a], -pays[a]])
    return Probe(
        "zero_sum",
        "mix, against an opponent who learns as well",
        TabularGame(_to_last(2, 2, 2), reward, terminal=[False, True], horizon=5),
        np.tile([0.4, 0.6], (2, 2, 1)),
        np.array([[0.2, 0.0], [-0.2, 0.0]]),
    )


def chain(length: int = 5, discount: float = 0.9) -> Probe:
    """One agent on `length` states in a row. Action 1 goes on, action 0 back to the first; the last step pays 1 and
    ends the game: V(s) = γ^(length - 1 - s). A learner that bootstraps beyond the end finds more than that.
    """
    states = length + 1
    transitions = np.zeros((states, 2, states))
    transitions[:, 0, 0] = 1
    transitions[np.arange(length), 1, np.arange(length) + 1] = 1
    transitions[length] = np.eye(states)[length]
    reward = np.zeros((states, 2, 1))
    reward[length - 1, 1] = 1
    return Probe(
        "chain",
        "carry value along several steps, and stop at the end",
        TabularGame(transitions, reward, terminal=np.arange(states) == length, horizon=10 * length, discount=discount),
        np.tile([0.0, 1.0], (1, states, 1)),
        np.append(discount ** np.arange(length - 1, -1, -1.0), 0)[None],
    )


PROBES = {make.__name__: make for make in (bandit, two_steps, roles, cooperative, zero_sum, chain)}
"""All probes by name, each a function that makes one."""


def _to_last(states: int, num_agents: int, actions: int) -> np.ndarray:
    """Every joint action leads to the last state."""
    return np.broadcast_to(np.eye(states)[-1], (states, *[actions] * num_agents, states))


def _one_shot(num_agents: int, actions: int, pays) -> np.ndarray:
    """Rewards of a state with one step, and of the terminal state after it (0)."""
    reward = np.zeros((2, *[actions] * num_agents, num_agents))
    for joint in np.ndindex(*[actions] * num_agents):
        reward[(0, *joint)] = pays(joint)
    return reward

"""A small Markov game as tables, in float64 on the host: what exact solutions are computed from."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

from mairl.core.errors import InvalidGame


@dataclasses.dataclass(frozen=True)
class Tables:
    """A Markov game with `S` states and `n` agents of `A` actions each. Joint-action axes are written `*joint`.

    Attributes:
        transitions: `[S, A_1 … A_n, S]` probabilities of the next state.
        reward: `[S, A_1 … A_n, n]` expected reward of each agent.
        start: `[S]` probabilities of the first state.
        terminal: `[S]` the game is over on arrival: nothing is done or paid there.
        discount: in [0, 1].
    """

    transitions: Float[np.ndarray, "state *joint next"]
    reward: Float[np.ndarray, "state *joint agent"]
    start: Float[np.ndarray, " state"]
    terminal: Bool[np.ndarray, " state"]
    discount: float

    def __post_init__(self):
        check_tables(self.transitions, self.reward, self.start, self.terminal, self.discount)

    @property
    def num_states(self) -> int:
        """S."""
        return self.start.shape[0]

    @property
    def num_agents(self) -> int:
        """n."""
        return self.reward.shape[-1]

    @property
    def num_actions(self) -> int:
        """A."""
        return self.reward.shape[1]

    @property
    def flow(self) -> Float[np.ndarray, "state *joint next"]:
        """Transitions that go on: 0 into terminal states. Their own rows stay; nobody is ever there."""
        return self.transitions * ~self.terminal

    def with_reward(self, reward: Float[np.ndarray, "state *joint agent"]) -> Tables:
        """The same game paying other rewards, such as recovered ones."""
        return dataclasses.replace(self, reward=np.asarray(reward, np.float64))


def check_tables(transitions, reward, start, terminal, discount: float) -> None:
    """Raises `InvalidGame` with the numbers and the remedy if tables do not make a Markov game."""
    n = reward.shape[-1]
    states = start.shape[0]
    want = (states, *[reward.shape[1]] * n)
    if reward.ndim != n + 2 or reward.shape[:-1] != want:
        raise InvalidGame(
            f"reward has shape {reward.shape}, expected [state, action of each agent, agent] = {(*want, n)}: "
            "give every agent equally many actions, repeating one where an agent has fewer"
        )
    if transitions.shape != (*want, states):
        raise InvalidGame(f"transitions have shape {transitions.shape}, reward and start need {(*want, states)}")
    if terminal.shape != (states,):
        raise InvalidGame(f"terminal has shape {terminal.shape}, start has {states} states")
    if not np.all(np.isfinite(reward)):
        raise InvalidGame(f"reward has {np.sum(~np.isfinite(reward))} values that are not finite")
    if transitions.min() < 0 or start.min() < 0:
        raise InvalidGame(f"probabilities must not be negative: {transitions.min()} among transitions, {start.min()}")
    off = np.abs(transitions.sum(axis=-1) - 1).max()
    if off > 1e-5 or abs(start.sum() - 1) > 1e-5:
        raise InvalidGame(f"probabilities must sum to 1: transitions are off by {off:.2g}, start sums to {start.sum()}")
    if np.any(terminal & (start > 0)):
        raise InvalidGame(f"state {int(np.argmax(terminal & (start > 0)))} is terminal and a start: drop one of them")
    if not 0 <= discount <= 1:
        raise InvalidGame(f"the discount must be in [0, 1], got {discount}")


def expect_others(
    table: Float[np.ndarray, " state *joint"], policies: Float[np.ndarray, "agent state action"], *agents: int
) -> Float[np.ndarray, " state *kept"]:
    """The mean of a table over the other agents' actions.

    From `[S, A_1 … A_n, ...]` to `[S, A_i, ...]`, or with two agents i < j kept to `[S, A_i, A_j, ...]`.
    """
    for other in reversed(range(policies.shape[0])):
        if other not in agents:
            weights = policies[other].reshape(
                policies.shape[1], *[1] * other, policies.shape[2], *[1] * (table.ndim - other - 2)
            )
            table = np.sum(table * weights, axis=other + 1)
    return table


def joint_policy(policies: Float[np.ndarray, "agent state action"]) -> Float[np.ndarray, " state *joint"]:
    """Probabilities of joint actions, `[S, A_1 … A_n]`, of agents that act independently."""
    joint = np.ones(policies.shape[1])
    for policy in policies:
        joint = joint[..., None] * policy.reshape(policy.shape[0], *[1] * (joint.ndim - 1), policy.shape[1])
    return joint


def check_policies(tables: Tables, policies) -> Float[np.ndarray, "agent state action"]:
    """The policies in float64, or `InvalidGame` if they do not fit the game or are no probabilities."""
    policies = np.asarray(policies, np.float64)
    want = (tables.num_agents, tables.num_states, tables.num_actions)
    if policies.shape != want:
        raise InvalidGame(f"policies have shape {policies.shape}, the game needs [agent, state, action] = {want}")
    off = np.abs(policies.sum(axis=-1) - 1).max()
    if off > 1e-4 or policies.min() < 0:
        raise InvalidGame(
            f"policies are no probabilities: sums are off by {off:.2g}, the least is {policies.min():.2g}"
        )
    return policies / policies.sum(axis=-1, keepdims=True)

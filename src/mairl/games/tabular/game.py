"""Markov games given by tables: small enough for exact answers."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from mairl.core.arrays import on_device
from mairl.core.errors import InvalidGame
from mairl.core.game import MarkovGame, TimeStep
from mairl.core.spaces import Discrete
from mairl.ops.tables import Tables, check_tables


class TabularState(eqx.Module):
    """Which state it is, and how many steps have been played."""

    index: Int[Array, "*b"]
    time: Int[Array, "*b"]


class TabularGame(MarkovGame):
    """A Markov game with `S` states, `n` agents and `A` actions for each. Everybody sees the state, one-hot.

    Attributes:
        transitions: `[S, A_1 … A_n, S]` probabilities of the next state.
        reward: `[S, A_1 … A_n, n]` what each agent is paid.
        start: `[S]` probabilities of the first state.
        terminal: `[S]` the game is over on arrival.
        horizon: an episode is truncated after so many steps.
        discount: γ, for exact solutions and as a default for learners; play itself does not use it.
        cooperative: everybody is always paid the same.
        layout: lines of a map, where the states are pairs of cells (see `gridworld`); used by the picture only.
    """

    transitions: Float[Array, "state *joint next"]
    reward: Float[Array, "state *joint agent"]
    start: Float[Array, " state"]
    terminal: Bool[Array, " state"]
    horizon: int = eqx.field(static=True)
    discount: float = eqx.field(static=True)
    cooperative: bool = eqx.field(static=True)  # type: ignore[assignment]
    layout: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self, transitions, reward, start=None, terminal=None, *, horizon: int = 50, discount: float = 0.9, layout=()
    ):
        """Checks the tables, on the host.

        Args:
            start: default: always state 0.
            terminal: default: none.

        Raises:
            InvalidGame: the tables do not fit together or are no probabilities.
        """
        states = np.shape(transitions)[0]
        # Rows are made to sum to 1 in float64 first: what is played is then right to float32's rounding.
        p = np.asarray(transitions, np.float64)
        r = np.asarray(reward, np.float64)
        first = np.eye(states)[0] if start is None else np.asarray(start, np.float64)
        over = np.zeros(states, bool) if terminal is None else np.asarray(terminal, bool)
        check_tables(p, r, first, over, discount)
        if horizon < 1:
            raise InvalidGame(f"the horizon must be at least 1, got {horizon}")
        self.transitions = on_device(p / p.sum(axis=-1, keepdims=True), jnp.float32)
        self.reward = on_device(r, jnp.float32)
        self.start = on_device(first / first.sum(), jnp.float32)
        self.terminal = on_device(over)
        self.horizon = horizon
        self.discount = discount
        self.cooperative = bool(np.all(r == r[..., :1]))
        self.layout = tuple(layout)

    @property
    def num_states(self) -> int:
        """S."""
        return self.start.shape[0]

    @property
    def num_agents(self) -> int:
        """n."""
        return self.reward.shape[-1]

    @property
    def action_space(self) -> Discrete:
        """See `MarkovGame`."""
        return Discrete(self.reward.shape[1])

    @property
    def observation_spec(self) -> jax.ShapeDtypeStruct:
        """One-hot, float32 `[state]`."""
        return jax.ShapeDtypeStruct((self.num_states,), jnp.float32)

    def tables(self) -> Tables:
        """The game in float64 on the host, for `mairl.ops.equilibrium` and `mairl.ops.occupancy`."""
        p = np.asarray(self.transitions, np.float64)
        start = np.asarray(self.start, np.float64)
        return Tables(
            transitions=p / p.sum(axis=-1, keepdims=True),
            reward=np.asarray(self.reward, np.float64),
            start=start / start.sum(),
            terminal=np.asarray(self.terminal),
            discount=self.discount,
        )

    def reset(self, key: Key[Array, ""]) -> tuple[TabularState, Float[Array, "agent state"]]:
        """See `MarkovGame.reset`."""
        index = jax.random.categorical(key, jnp.log(self.start)).astype(jnp.int32)
        state = TabularState(index, jnp.zeros((), jnp.int32))
        return state, self.observe(state)

    def step(
        self, key: Key[Array, ""], state: TabularState, actions: Int[Array, " agent"]
    ) -> tuple[TabularState, TimeStep]:
        """See `MarkovGame.step`. A terminal state is never left."""
        where = (state.index, *(actions[i] for i in range(self.num_agents)))
        index = jax.random.categorical(key, jnp.log(self.transitions[where])).astype(jnp.int32)
        over_before = self.terminal[state.index]
        index = jnp.where(over_before, state.index, index)
        next_state = TabularState(index, state.time + 1)
        over = self.terminal[index]
        return next_state, TimeStep(
            obs=self.observe(next_state),
            reward=jnp.where(over_before, 0.0, self.reward[where]),
            terminated=jnp.broadcast_to(over, (self.num_agents,)),
            truncated=(next_state.time >= self.horizon) & ~over,
            mask=jnp.broadcast_to(~over_before, (self.num_agents,)),
        )

    def observe(self, state: TabularState) -> Float[Array, "agent state"]:
        """See `MarkovGame.observe`."""
        seen = jax.nn.one_hot(state.index, self.num_states)
        return jnp.broadcast_to(seen, (self.num_agents, self.num_states))

    def successors(
        self, key: Key[Array, ""], state: TabularState, actions: Int[Array, " agent"]
    ) -> tuple[TabularState, Bool[Array, "branch agent"], Float[Array, " branch"]]:
        """All `S` states as branches, with their probabilities (many may be 0). The key is not used."""
        del key
        where = (state.index, *(actions[i] for i in range(self.num_agents)))
        index = jnp.arange(self.num_states, dtype=jnp.int32)
        stuck = jax.nn.one_hot(state.index, self.num_states)
        probability = jnp.where(self.terminal[state.index], stuck, self.transitions[where])
        branches = TabularState(index, jnp.broadcast_to(state.time + 1, index.shape))
        terminated = jnp.broadcast_to(self.terminal[:, None], (self.num_states, self.num_agents))
        return branches, terminated, probability

    def render(self, state: TabularState) -> np.ndarray:
        """See `MarkovGame.render`."""
        from mairl.games.tabular.render import render_grid, render_states

        index = int(state.index)
        return render_grid(self.layout, index) if self.layout else render_states(np.asarray(self.terminal), index)

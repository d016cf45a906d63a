"""Simple Spread: agents cover landmarks together and keep out of each other's way."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mairl.core.errors import InvalidGame
from mairl.core.game import MarkovGame, TimeStep
from mairl.core.spaces import ActionSpace, Box, Discrete
from mairl.games.simple_spread.physics import lengths, move, push
from mairl.games.simple_spread.types import ACTIONS, FEATURES, RADIUS, SpreadState


class SimpleSpread(MarkovGame):
    """As many landmarks as agents; every agent sees everything, relative to itself.

    Dynamics, starts, observations and rewards are those of `simple_spread_v3` (package `mpe2`): all are paid minus the
    distance of each landmark to its nearest agent, and each loses 1 for every other that it touches, weighed
    1 - `local_ratio` to `local_ratio`. Episodes end by the time limit only.

    Attributes:
        agents: and landmarks, 2 or more.
        local_ratio: 0 (all are paid alike) to 1 (each pays for its own collisions only).
        horizon: steps of 0.1 s.
        continuous: actions are Box [0, 1]⁵ (how much to stay, and to push left, right, down and up) instead of one of
            the five.
    """

    agents: int = eqx.field(static=True, default=3)
    local_ratio: float = eqx.field(static=True, default=0.5)
    horizon: int = eqx.field(static=True, default=25)
    continuous: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if self.agents < 2:
            raise InvalidGame(f"agents must be at least 2, got {self.agents}")
        if not 0 <= self.local_ratio <= 1:
            raise InvalidGame(f"local_ratio must be 0 to 1, got {self.local_ratio}")
        if self.horizon < 1:
            raise InvalidGame(f"horizon must be at least 1, got {self.horizon}")

    @property
    def num_agents(self) -> int:
        """See `MarkovGame`."""
        return self.agents

    @property
    def action_space(self) -> ActionSpace:
        """See `MarkovGame`."""
        return Box(len(ACTIONS), 0.0, 1.0) if self.continuous else Discrete(len(ACTIONS))

    @property
    def observation_spec(self) -> jax.ShapeDtypeStruct:
        """Own velocity 2, own place 2, landmarks and others relative to oneself, and 2 zeros for each other, who says
        nothing: 6 n numbers."""
        return jax.ShapeDtypeStruct((6 * self.agents,), jnp.float32)

    def reset(self, key: Key[Array, ""]) -> tuple[SpreadState, Array]:
        """See `MarkovGame.reset`: all places are uniform in [-1, 1]²."""
        key_agent, key_landmark = jax.random.split(key)
        shape = (self.agents, 2)
        state = SpreadState(
            place=jax.random.uniform(key_agent, shape, minval=-1.0, maxval=1.0),
            velocity=jnp.zeros(shape),
            landmark=jax.random.uniform(key_landmark, shape, minval=-1.0, maxval=1.0),
            time=jnp.zeros((), jnp.int32),
        )
        return state, self.observe(state)

    def step(self, key: Key[Array, ""], state: SpreadState, actions: Array) -> tuple[SpreadState, TimeStep]:
        """See `MarkovGame.step`. `info` has how many others each touches, and how many landmarks are covered."""
        place, velocity = move(state, push(actions))
        next_state = SpreadState(place, velocity, state.landmark, state.time + 1)
        features = self.features(state, actions, next_state)
        covered = jnp.min(lengths(state.landmark[:, None] - place), axis=1) < COVERED
        return next_state, TimeStep(
            obs=self.observe(next_state),
            reward=features @ jnp.asarray(self._weights(), features.dtype),
            terminated=jnp.zeros(self.agents, bool),
            truncated=next_state.time >= self.horizon,
            mask=jnp.ones(self.agents, bool),
            info={
                "collisions": features[:, FEATURES.index("collisions")],
                "covered": jnp.broadcast_to(jnp.sum(covered), (self.agents,)),
            },
        )

    def observe(self, state: SpreadState) -> Float[Array, "agent feature"]:
        """See `MarkovGame.observe`."""
        n = self.agents
        others = (np.arange(n)[:, None] + 1 + np.arange(n - 1)) % n
        others.sort(axis=1)
        own = state.place[:, None]
        seen = [state.velocity, state.place, state.landmark - own, state.place[others] - own, jnp.zeros((n, n - 1, 2))]
        return jnp.concatenate([x.reshape(n, -1) for x in seen], axis=1)

    def feature_names(self) -> tuple[str, ...]:
        """See `MarkovGame.feature_names`."""
        return FEATURES

    def features(self, state: SpreadState, actions: Array, next_state: SpreadState) -> Float[Array, "agent feature"]:
        """See `MarkovGame.features` and `mairl.games.simple_spread.types.FEATURES`."""
        n, place = self.agents, next_state.place
        to_landmark = lengths(place[:, None] - next_state.landmark)
        apart = lengths(place[:, None] - place)
        touching = (apart < 2 * RADIUS) & ~jnp.eye(n, dtype=bool)
        columns = [
            jnp.broadcast_to(-jnp.sum(jnp.min(to_landmark, axis=0)), (n,)),
            jnp.sum(touching, axis=1),
            jnp.min(to_landmark, axis=1),
            jnp.sum(apart, axis=1) / (n - 1),
            lengths(next_state.velocity),
            jnp.sum(push(actions) ** 2, axis=1),
        ]
        return jnp.stack([c.astype(place.dtype) for c in columns], axis=1)

    def feature_weights(self) -> Float[np.ndarray, "agent feature"]:
        """See `MarkovGame.feature_weights`."""
        return np.tile(self._weights(), (self.agents, 1))

    def action_names(self) -> tuple[str, ...]:
        """See `MarkovGame.action_names`."""
        return () if self.continuous else ACTIONS

    def render(self, state: SpreadState) -> np.ndarray:
        """See `MarkovGame.render`."""
        from mairl.games.simple_spread.render import render

        return render(state)

    def _weights(self) -> np.ndarray:
        paid = {"coverage": 1 - self.local_ratio, "collisions": -self.local_ratio}
        return np.array([paid.get(name, 0.0) for name in FEATURES])


COVERED = 0.1
"""How near to a landmark somebody must be for it to count as covered, in reports only."""

"""Intersection: each vehicle crosses to its own destination, as fast as the others let it."""

from __future__ import annotations

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree

from mairl.core.errors import InvalidGame
from mairl.core.game import MarkovGame, TimeStep
from mairl.core.spaces import Discrete
from mairl.games.intersection.dynamics import advance, aim
from mairl.games.intersection.lanes import progress, routes
from mairl.games.intersection.observe import OBSERVATIONS
from mairl.games.intersection.types import ACTIONS, EXIT, TURNS, Body, IntersectionState

ARRIVED_AFTER = 25.0
"""Metres down the exit at which a vehicle has arrived."""

MEAN_START = 65.0
"""Metres from the beginning of the 100 m approach."""

SPACING = 20.0
"""Metres between vehicles that share an arm."""


class Intersection(MarkovGame):
    """Vehicles meet at a four-way intersection; each chooses to go slower, idle or faster once a second.

    Roads, controllers, kinematics and collisions are those of highway-env's intersection (Leurent 2018), with 15
    sub-steps a second. As in the MAMQL paper's Highway game there is no other traffic, a vehicle is paid 2 when it
    arrives at its own destination (once) and -4 when it collides, and the episode ends with a collision or when all
    have arrived.

    Attributes:
        num_vehicles: 1 to 8; vehicle i comes from arm i modulo 4, the second of an arm 20 m behind the first.
        horizon: policy steps, that is seconds.
        routes: "random" draws each vehicle's turn; or a tuple of "right", "straight" and "left", one per vehicle.
        jitter: vehicles start within ± so many metres of 65 m down their approach (35 m before the junction).
        arrival, collision: rewards.
        leave: vehicles leave the scene when they have arrived; else they drive on and can still be hit, as in
            highway-env.
        intentions: whether a vehicle sees where the others want to go.
        observation: "vector", or "entities" as `{"ego", "entities", "mask"}`.
    """

    num_vehicles: int = eqx.field(static=True, default=4)
    horizon: int = eqx.field(static=True, default=13)
    routes: str | tuple[str, ...] = eqx.field(static=True, default="random")
    jitter: float = eqx.field(static=True, default=5.0)
    arrival: float = eqx.field(static=True, default=2.0)
    collision: float = eqx.field(static=True, default=-4.0)
    leave: bool = eqx.field(static=True, default=True)
    intentions: bool = eqx.field(static=True, default=True)
    observation: Literal["vector", "entities"] = eqx.field(static=True, default="vector")

    action_space: ClassVar[Discrete] = Discrete(len(ACTIONS))

    def __check_init__(self):
        if not 1 <= self.num_vehicles <= 8:
            raise InvalidGame(f"num_vehicles must be 1 to 8, got {self.num_vehicles}")
        if self.horizon < 1:
            raise InvalidGame(f"horizon must be at least 1, got {self.horizon}")
        if not 0 <= self.jitter <= 9:
            raise InvalidGame(f"jitter must be 0 to 9 m, got {self.jitter}")
        if self.observation not in OBSERVATIONS:
            raise InvalidGame(f"unknown observation {self.observation!r}: use one of {', '.join(OBSERVATIONS)}")
        if self.routes != "random":
            if isinstance(self.routes, str) or len(self.routes) != self.num_vehicles:
                raise InvalidGame(f"routes must be 'random' or one turn for each vehicle, got {self.routes!r}")
            if unknown := sorted(set(self.routes) - set(TURNS)):
                raise InvalidGame(f"unknown turn {', '.join(unknown)}: use {', '.join(TURNS)}")

    @property
    def num_agents(self) -> int:
        """One per vehicle."""
        return self.num_vehicles

    @property
    def observation_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """See `MarkovGame`."""
        stacked = jax.eval_shape(lambda: self.reset(jax.random.key(0))[1])
        return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape[1:], s.dtype), stacked)

    def reset(self, key: Key[Array, ""]) -> tuple[IntersectionState, PyTree[Array]]:
        """See `MarkovGame.reset`."""
        key_start, key_turn = jax.random.split(key)
        n = self.num_vehicles
        if self.routes == "random":
            turn = jax.random.randint(key_turn, (n,), 0, len(TURNS), jnp.int32)
        else:
            turn = jnp.array([TURNS.index(t) for t in self.routes], jnp.int32)
        shift = jax.random.uniform(key_start, (n,), minval=-self.jitter, maxval=self.jitter)
        state = start(MEAN_START - SPACING * (jnp.arange(n) // 4) + shift, turn)
        return state, self.observe(state)

    def step(
        self, key: Key[Array, ""], state: IntersectionState, actions: Int[Array, " vehicle"]
    ) -> tuple[IntersectionState, TimeStep]:
        """See `MarkovGame.step`. `info` says who `arrived` and who `crashed` in this step."""
        route, before = routes(state.turn), state.body
        target = aim(before.speed, before.target, actions)
        body = advance(route, eqx.tree_at(lambda b: b.target, before, target))
        _, along = progress(state.turn, body)
        there = (body.lane == EXIT) & (along >= ARRIVED_AFTER)
        crashed = body.crashed & ~before.crashed
        arrives = there & ~state.arrived & ~body.crashed
        arrived = state.arrived | arrives
        if self.leave:
            body = eqx.tree_at(lambda b: b.gone, body, arrived)
        time = state.time + 1
        next_state = IntersectionState(body, state.turn, arrived, time)
        over = jnp.any(body.crashed) | jnp.all(arrived)
        return next_state, TimeStep(
            obs=self.observe(next_state),
            reward=self.arrival * arrives + self.collision * crashed,
            terminated=arrived | over,
            truncated=(time >= self.horizon) & ~over,
            mask=~state.arrived,
            info={"arrived": arrives.astype(jnp.int32), "crashed": crashed.astype(jnp.int32)},
        )

    def observe(self, state: IntersectionState) -> PyTree[Array]:
        """See `MarkovGame.observe` and `mairl.games.intersection.observe`."""
        return OBSERVATIONS[self.observation](state, self.intentions, self.horizon)

    def agent_names(self) -> tuple[str, ...]:
        """See `MarkovGame.agent_names`."""
        return tuple(f"vehicle_{i}" for i in range(self.num_vehicles))

    def action_names(self) -> tuple[str, ...]:
        """See `MarkovGame.action_names`."""
        return ACTIONS

    def render(self, state: IntersectionState) -> np.ndarray:
        """See `MarkovGame.render`."""
        from mairl.games.intersection.render import render

        return render(state)


def start(along: Array, turn: Int[Array, " vehicle"], speed: float = 10.0, target: float = 9.0) -> IntersectionState:
    """The state in which each vehicle is `along` metres down its approach, centred, at `speed` (highway-env's start).

    Args:
        turn: RIGHT, STRAIGHT or LEFT for each vehicle.
    """
    n = turn.shape[0]
    along = jnp.asarray(along, float)
    body = Body(
        place=jnp.stack([along, jnp.zeros(n)], axis=-1),
        angle=jnp.zeros(n),
        speed=jnp.full(n, speed, float),
        target=jnp.full(n, target, float),
        lane=jnp.zeros(n, jnp.int32),
        crashed=jnp.zeros(n, bool),
        impact=jnp.zeros((n, 2)),
        hit=jnp.zeros(n, bool),
        gone=jnp.zeros(n, bool),
    )
    return IntersectionState(body, turn, jnp.zeros(n, bool), jnp.zeros((), jnp.int32))

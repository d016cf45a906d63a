"""Driving: each vehicle goes where its log went, on the road and without hitting anybody."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PyTree

from mairl.core.errors import InvalidGame
from mairl.core.game import MarkovGame, TimeStep
from mairl.core.policy import Policy
from mairl.core.spaces import ActionSpace, Box, Discrete
from mairl.driving.autopilot import Autopilot, autopilot
from mairl.driving.dynamics import Bicycle, DeltaLocal, Grid, InvertibleBicycle, Jerk
from mairl.driving.idm import Driver
from mairl.driving.observe import SMALL, Sight, observe
from mairl.driving.rewards import LANE_FEATURES, RewardWeights, feature_names, features, rewards, weights_of
from mairl.driving.simulator import EVENTS, Rules, State, advance, recalled, start
from mairl.driving.world import Worlds

TRAFFIC = ("logs", "idm", "mobil")
"""Who drives what no learner does, by the names that options use."""


class Driving(MarkovGame):
    """Vehicles on logged or made-up roads. The agents are the driven vehicles; who else moves replays its log, or
    drives on its own.

    An episode is one world, drawn anew each time. Actions are either one of a grid of accelerations and steering, or
    vectors in [-1, 1] that are stretched over the dynamics' bounds.

    Attributes:
        worlds: where to drive; see `mairl.driving.load`.
        dynamics: how vehicles move, and how actions are given.
        rules: what counts and what follows.
        sight: how much is seen.
        reward: weights of its features, or the name of some; see `mairl.driving.rewards`.
        horizon: steps of an episode; by default all that the longest log has.
        traffic: who drives what no learner does: "logs"; "idm", or "mobil", which changes lanes as well, or an
            `Autopilot` made with drivers of your own (these drive along lanes where logs show no way, in worlds that
            have lanes); or a policy, which gets the observations of the places for driven vehicles, and whose actions
            those from `learners` on take.
        learners: the first places, those of whoever learns or plays. The rest stays masked, earns nothing and has no
            events; its actions are read only where `traffic` is not a policy. 0: all places.
    """

    worlds: Worlds
    dynamics: Grid | Bicycle | InvertibleBicycle | DeltaLocal | Jerk = eqx.field(static=True)
    rules: Rules = eqx.field(static=True)
    sight: Sight = eqx.field(static=True)
    reward: RewardWeights = eqx.field(static=True)
    horizon: int = eqx.field(static=True)
    traffic: Autopilot | Policy | None
    learners: int = eqx.field(static=True)

    def __init__(
        self,
        worlds: Worlds,
        dynamics: Grid | Bicycle | InvertibleBicycle | DeltaLocal | Jerk | None = None,
        rules: Rules = Rules(),
        sight: Sight = SMALL,
        reward: str | RewardWeights = "sparse",
        horizon: int = 0,
        traffic: str | Autopilot | Policy | None = None,
        learners: int = 0,
    ):
        self.worlds = worlds
        self.dynamics = Grid(Bicycle()) if dynamics is None else dynamics
        self.rules = rules
        self.sight = sight
        self.reward = weights_of(reward)
        self.horizon = horizon or worlds.num_steps
        if isinstance(traffic, str) and traffic not in TRAFFIC:
            raise InvalidGame(f"traffic is {traffic!r}, expected {', '.join(TRAFFIC)}, or a policy")
        if isinstance(traffic, str):
            traffic = None if traffic == "logs" else autopilot(worlds, Driver(changes=traffic == "mobil"))
        self.traffic = traffic
        self.learners = learners or worlds.num_agents
        if not 0 < self.learners <= worlds.num_agents:
            raise InvalidGame(f"learners is {learners}, expected 0 to {worlds.num_agents}: as many places are driven")
        _check_lanes(worlds, sight, self.reward, rules)
        if self.horizon < 1:
            raise InvalidGame(f"horizon must be at least 1, got {horizon}")
        for name, table in (("edges", worlds.grid.edges), ("others", worlds.grid.others)):
            if getattr(sight, name) > table.shape[2]:
                raise InvalidGame(
                    f"sight asks for {getattr(sight, name)} {name}, the index of the map holds {table.shape[2]}: "
                    f"build the worlds with GridConfig({name}={getattr(sight, name)})"
                )

    @property
    def differentiable(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """With continuous actions: positions and speeds are differentiable, events are not."""
        return not isinstance(self.dynamics, Grid)

    @property
    def num_agents(self) -> int:
        """Places for driven vehicles."""
        return self.worlds.num_agents

    @property
    def action_space(self) -> ActionSpace:
        """See the class."""
        if isinstance(self.dynamics, Grid):
            return Discrete(self.dynamics.num_actions)
        return Box(len(self.dynamics.low), -1.0, 1.0)

    @property
    def observation_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """See `observe`."""
        stacked = jax.eval_shape(lambda: self.reset(jax.random.key(0))[1])
        return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape[1:], s.dtype), stacked)

    def reset(self, key: Key[Array, ""]) -> tuple[State, PyTree[Array]]:
        """See `MarkovGame.reset`: a world, all of them equally likely."""
        return self.reset_to(jax.random.randint(key, (), 0, len(self.worlds), jnp.int32))

    def reset_to(self, world: Any) -> tuple[State, PyTree[Array]]:
        """The start of world number `world`."""
        state = start(self.worlds, jnp.asarray(world, jnp.int32), self.sight.history, self.autopilot)
        return state, self.observe(state)

    def step(self, key: Key[Array, ""], state: State, actions: Array) -> tuple[State, TimeStep]:
        """See `MarkovGame.step`. `info` has what happened: `mairl.driving.simulator.EVENTS`."""
        took_part = self.taking_part(state)
        if isinstance(self.traffic, Policy):
            heroes = self.traffic.sample(key, self.observe(state))
            own = jnp.arange(self.num_agents) < self.learners
            actions = jnp.where(own.reshape(-1, *[1] * (actions.ndim - 1)), actions, heroes)
        action = self.continuous(actions)
        after, events, near = advance(self.worlds, self.model, self.rules, state, action, self.autopilot)
        on = self.taking_part(after)
        over = ~jnp.any(on)
        value = jnp.where(took_part, rewards(self.worlds, self.reward, state, after, events), 0.0)
        return after, TimeStep(
            obs=observe(self.worlds, self.sight, after, self.horizon, near),
            reward=value,
            terminated=~on,
            truncated=(after.time - self.worlds.start[after.world] >= self.horizon) & ~over,
            mask=took_part,
            info={name: getattr(events, name) & took_part for name in EVENTS},
        )

    @property
    def model(self) -> Bicycle | InvertibleBicycle | DeltaLocal | Jerk:
        """The dynamics without their grid of actions."""
        return self.dynamics.model if isinstance(self.dynamics, Grid) else self.dynamics

    def continuous(self, actions: Array) -> Array:
        """The dynamics' own actions `[agent, size]`."""
        if isinstance(self.dynamics, Grid):
            return self.dynamics.continuous(actions)
        low, high = jnp.asarray(self.dynamics.low), jnp.asarray(self.dynamics.high)
        return low + (jnp.clip(actions, -1.0, 1.0) + 1.0) / 2.0 * (high - low)

    def taking_part(self, state: State) -> Bool[Array, " agent"]:
        """Who drives now."""
        return self.worlds.driven[state.world] & state.active & (jnp.arange(self.num_agents) < self.learners)

    @property
    def autopilot(self) -> Autopilot | None:
        """Who drives on its own by IDM."""
        return self.traffic if isinstance(self.traffic, Autopilot) else None

    def observe(self, state: State) -> PyTree[Array]:
        """See `MarkovGame.observe` and `mairl.driving.observe`."""
        return observe(self.worlds, self.sight, state, self.horizon)

    def feature_names(self) -> tuple[str, ...]:
        """See `MarkovGame.feature_names`."""
        return feature_names(self.worlds)

    def features(self, state: State, actions: Array, next_state: State) -> Float[Array, "agent feature"]:
        """See `MarkovGame.features` and `mairl.driving.rewards`."""
        events = recalled(self.worlds, self.rules, state, next_state)
        found = features(self.worlds, state, next_state, events)
        return jnp.where(self.taking_part(state)[:, None], found, 0.0)

    def feature_weights(self) -> Float[np.ndarray, "agent feature"]:
        """See `MarkovGame.feature_weights`."""
        return np.tile([getattr(self.reward, name) for name in self.feature_names()], (self.num_agents, 1))

    def agent_names(self) -> tuple[str, ...]:
        """See `MarkovGame.agent_names`."""
        return tuple(f"vehicle_{i}" for i in range(self.num_agents))

    def action_names(self) -> tuple[str, ...]:
        """See `MarkovGame.action_names`."""
        return self.dynamics.names() if isinstance(self.dynamics, Grid) else ()

    def render(self, state: State) -> np.ndarray:
        """See `MarkovGame.render`."""
        from mairl.driving.render import render

        return render(self, state)


def _check_lanes(worlds: Worlds, sight: Sight, reward: RewardWeights, rules: Rules) -> None:
    """Whether lanes and speed limits are there for whatever asks for them."""
    if sight.way and worlds.ways is None:
        raise InvalidGame("sight asks for the way to the goal: build the worlds with WorldConfig(ways=True)")
    asks = [f"a reward for {name}" for name in LANE_FEATURES if getattr(reward, name)]
    asks += ["Rules(off_pace=True)"] if rules.off_pace else []
    asks += [f"Sight(lanes={sight.lanes})"] if sight.lanes else []
    if sight.links and not sight.lanes:
        raise InvalidGame("sight asks for the links of lanes, and sees none: give it lanes, for example lanes=32")
    if not asks:
        return
    if worlds.lanes is None:
        raise InvalidGame(f"{asks[0]} needs lanes: build the worlds with WorldConfig(lanes=LaneConfig())")
    if sight.lanes > worlds.lanes.near.shape[1]:
        raise InvalidGame(
            f"sight asks for {sight.lanes} pieces of lanes, the index holds {worlds.lanes.near.shape[1]}: build the "
            f"worlds with LaneConfig(near={sight.lanes})"
        )
    if (reward.pace or rules.off_pace) and not worlds.lanes.has_limits:
        raise InvalidGame(
            f"{asks[0]} needs speed limits, and no lane of these maps has one: give those to assume, for example "
            "LaneConfig(limit=13.9), or limit=13.9 where a game is made by its id"
        )

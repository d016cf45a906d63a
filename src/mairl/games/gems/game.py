"""Gems: two agents collect gems of their own colour alone, and purple ones together.

The game of the MAMQL paper. Rules where the paper is silent: agents may share a cell; collected gems are gone (unless
`respawn`); when both agents stand on purple gems at once, every purple gem stood on is collected, and each pays
`purple_reward` to each agent (two distinct ones pay twice, one shared one pays once).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from mairl.core.errors import InvalidGame
from mairl.core.game import MarkovGame, TimeStep
from mairl.core.spaces import Discrete
from mairl.games.gems.observe import OBSERVATIONS
from mairl.games.gems.types import ACTIONS, MOVES, PURPLE, GemsState, fixed_layout


class Gems(MarkovGame):
    """The game of gems on a square grid.

    Every step both agents move (or stay; walls stop them), then gems are collected: an agent on a gem of its own
    colour is paid 1, purple gems need both agents (see above). The episode terminates when no gem is left and is
    truncated at the horizon.

    Attributes:
        size: cells along each side, at most 127.
        gems: how many blue (agent 0's), red (agent 1's) and purple ones.
        horizon: steps.
        purple_reward: what each agent is paid for each purple gem.
        layout: "fixed" (15 x 15, 5 + 5 + 5 gems) or "random": all on distinct uniformly random cells.
        respawn: a collected gem reappears at once on a random cell that is free of gems and agents; the game then
            never terminates.
        shaping: pays an agent this much for each move nearer to the nearest purple gem, and takes it for each away:
            an aid to learning (as the paper's experts had), 0 in the game itself.
        observation: one agent's view, its own colour always first, so that roles are symmetric (see
            `mairl.games.gems.observe`): "entities" (a set with a mask, the default: small, and it carries over to
            random layouts), "planes" (an image), "vector", "ranked" (a vector with gems in order of distance).
        observe_time: adds the share of the time that is left. Off by default: the paper's observation has no clock,
            the true reward does not depend on it, and learners that treat the horizon as a cut (not as an end) are
            consistent without. Switch it on for play that should change when time runs short. Images have no clock.
    """

    size: int = eqx.field(static=True, default=15)
    gems: tuple[int, int, int] = eqx.field(static=True, default=(5, 5, 5))
    horizon: int = eqx.field(static=True, default=45)
    purple_reward: float = eqx.field(static=True, default=3.0)
    layout: Literal["fixed", "random"] = eqx.field(static=True, default="fixed")
    respawn: bool = eqx.field(static=True, default=False)
    shaping: float = eqx.field(static=True, default=0.0)
    observation: Literal["entities", "planes", "vector", "ranked"] = eqx.field(static=True, default="entities")
    observe_time: bool = eqx.field(static=True, default=False)
    num_agents: ClassVar[int] = 2
    action_space: ClassVar[Discrete] = Discrete(len(ACTIONS))

    def __check_init__(self):
        if self.layout not in ("fixed", "random"):
            raise InvalidGame(f"unknown layout {self.layout!r}: use 'fixed' or 'random'")
        if self.observation not in OBSERVATIONS:
            raise InvalidGame(f"unknown observation {self.observation!r}: use one of {', '.join(OBSERVATIONS)}")
        if self.observation == "planes" and self.observe_time:
            raise InvalidGame("planes have no clock: use observe_time with observation='entities' or 'vector'")
        if not 1 <= self.size <= 127 or self.horizon < 1:
            raise InvalidGame(f"need 1 <= size <= 127 and horizon >= 1, got size={self.size}, horizon={self.horizon}")
        if len(self.gems) != 3 or min(self.gems) < 0 or self.num_gems < 1:
            raise InvalidGame(f"gems must be three counts (blue, red, purple), not all 0, got {self.gems}")
        if self.layout == "fixed" and (self.size, tuple(self.gems)) != (15, (5, 5, 5)):
            raise InvalidGame(
                f"the fixed layout has size 15 and gems (5, 5, 5), got {self.size} and {self.gems}: use layout='random'"
            )
        if self.num_gems + 2 > self.size**2:
            raise InvalidGame(f"{self.num_gems} gems and 2 agents do not fit on {self.size**2} cells: raise size")

    @property
    def num_gems(self) -> int:
        """All gems together."""
        return sum(self.gems)

    @property
    def colours(self) -> np.ndarray:
        """`[gem]`: 0 blue, 1 red, 2 purple."""
        return np.repeat(np.arange(3), self.gems)

    @property
    def observation_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """See `MarkovGame`."""
        stacked = jax.eval_shape(lambda: self.reset(jax.random.key(0))[1])
        return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape[1:], s.dtype), stacked)

    def reset(self, key: Key[Array, ""]) -> tuple[GemsState, PyTree[Array]]:
        """See `MarkovGame.reset`."""
        if self.layout == "fixed":
            agents, gems = fixed_layout()
        else:
            cells = distinct(key, self.size**2, self.num_gems + 2)
            places = jnp.stack([cells % self.size, cells // self.size], axis=-1).astype(jnp.int8)
            agents, gems = places[:2], places[2:]
        state = GemsState(agents, gems, jnp.ones(self.num_gems, bool), jnp.zeros((), jnp.int16))
        return state, self.observe(state)

    def step(self, key: Key[Array, ""], state: GemsState, actions: Int[Array, " 2"]) -> tuple[GemsState, TimeStep]:
        """See `MarkovGame.step`. `info` counts the gems that paid each agent: `own` and `purple`."""
        agents = jnp.clip(state.agents + jnp.asarray(MOVES)[actions], 0, self.size - 1)
        on = jnp.all(agents[:, None] == state.gems, axis=-1) & state.alive
        colours = jnp.asarray(self.colours)
        own = on & (colours == jnp.arange(2)[:, None])
        on_purple = on & (colours == PURPLE)
        purple = jnp.any(on_purple, axis=0) & jnp.all(jnp.any(on_purple, axis=1))
        taken = jnp.any(own, axis=0) | purple
        num_own = jnp.sum(own, axis=1)
        num_purple = jnp.broadcast_to(jnp.sum(purple), (2,))
        time = state.time + jnp.int16(1)
        if self.respawn:
            next_state = GemsState(agents, self._respawn(key, agents, state.gems, taken), state.alive, time)
        else:
            next_state = GemsState(agents, state.gems, state.alive & ~taken, time)
        cleared = ~jnp.any(next_state.alive)
        return next_state, TimeStep(
            obs=self.observe(next_state),
            reward=num_own + self.purple_reward * num_purple + self._shaped(state, agents),
            terminated=jnp.broadcast_to(cleared, (2,)),
            truncated=(time >= self.horizon) & ~cleared,
            mask=jnp.ones(2, bool),
            info={"own": num_own.astype(jnp.int32), "purple": num_purple.astype(jnp.int32)},
        )

    def observe(self, state: GemsState) -> PyTree[Array]:
        """See `MarkovGame.observe` and `mairl.games.gems.observe`."""
        left = 1 - state.time.astype(jnp.float32) / self.horizon if self.observe_time else None
        return OBSERVATIONS[self.observation](state, self.colours, self.size, left)

    def _shaped(self, state: GemsState, agents) -> Float[Array, " 2"]:
        """Moves gained towards the nearest purple gem, times `shaping`."""
        if not self.shaping:
            return jnp.zeros(2)
        there = state.alive & (jnp.asarray(self.colours) == PURPLE)

        def moves(places):
            away = jnp.sum(jnp.abs(places[:, None].astype(jnp.float32) - state.gems), axis=-1)
            return jnp.where(jnp.any(there), jnp.min(jnp.where(there, away, jnp.inf), axis=-1), 0.0)

        return self.shaping * (moves(state.agents) - moves(agents))

    def agent_names(self) -> tuple[str, ...]:
        """See `MarkovGame.agent_names`."""
        return ("blue", "red")

    def action_names(self) -> tuple[str, ...]:
        """See `MarkovGame.action_names`."""
        return ACTIONS

    def render(self, state: GemsState) -> np.ndarray:
        """See `MarkovGame.render`."""
        from mairl.games.gems.render import render

        return render(self, state)

    def _respawn(self, key, agents, gems, taken):
        """Puts taken gems (at most 4 a step) on distinct uniformly random cells without a gem or an agent."""
        most = min(4, self.size**2)
        used = jnp.concatenate([agents, gems]).astype(jnp.int32)
        used = used[:, 0] + self.size * used[:, 1]
        free = ~jnp.any(jnp.arange(self.size**2)[:, None] == used, axis=1)
        # The cells of the largest random numbers, in their order, are a random choice without replacement.
        score, cells = jax.lax.top_k(jnp.where(free, jax.random.uniform(key, free.shape), -1.0), most)
        places = jnp.stack([cells % self.size, cells // self.size], axis=-1).astype(gems.dtype)
        rank = jnp.clip(jnp.cumsum(taken) - 1, 0, most - 1)
        # With too few free cells a gem stays where it is.
        return jnp.where((taken & (score[rank] >= 0))[:, None], places[rank], gems)


def distinct(key: Key[Array, ""], cells: int, count: int) -> Int[Array, " count"]:
    """`count` distinct numbers below `cells`, every ordered choice equally likely, without sorting all of them.

    Draws the digits of a random Lehmer code (digit i: which of the cells still free) and decodes it.
    """
    index = jnp.arange(count)
    # The remainder favours low digits by less than cells / 2³², and needs half of randint's random bits.
    code = (jax.random.bits(key, (count,), jnp.uint32) % (cells - index).astype(jnp.uint32)).astype(jnp.int32)
    for i in reversed(range(count - 1)):
        code = code + ((index > i) & (code >= code[i]))
    return code


def gem_split(info: dict[str, Int[Array, "time agent"]], alive: Bool[Array, " time"]) -> dict[str, Array]:
    """Own-colour and purple gems of one episode, `[agent]` each, from the steps' `info` and which steps count."""
    return {name: jnp.sum(jnp.where(alive[:, None], info[name], 0), axis=0) for name in ("own", "purple")}

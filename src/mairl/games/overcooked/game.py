"""Overcooked (Carroll et al. 2019): bring three onions to a pot, wait, fill the soup into a dish, serve it.

Order within a step: interactions (player 0 first), then movement, then the pots.
"""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from mairl.core.errors import InvalidGame
from mairl.core.game import MarkovGame, TimeStep
from mairl.core.spaces import Discrete
from mairl.games.overcooked.layout import ALIASES, LAYOUTS, Layout, parse_layout
from mairl.games.overcooked.observe import grid_channels, grid_planes, vector, vector_size
from mairl.games.overcooked.types import (
    ACTIONS,
    DISH,
    FULL_SOUP,
    INTERACT,
    NOTHING,
    ONION,
    SOUP,
    STEPS,
    OvercookedState,
)


class Overcooked(MarkovGame):
    """A kitchen with two or more cooks, who are paid together.

    Attributes:
        layout: a name (see `LAYOUTS`), or rows of text joined by "/" or newlines.
        dynamics: "old": the third onion starts the pot (the papers', and human recordings'); "new": interacting
            with empty hands does, at any number of onions, and only three-onion soups are paid.
        cook_time: steps from the start of cooking to a ready soup; the step that starts it counts.
        horizon: steps of an episode. It never ends earlier.
        soup_reward: of a delivery, in all; each player gets an equal part (20 for two players: 10 each).
        shaping: weight of the usual aid to learning (3 onion in pot, 3 useful dish, 5 soup in dish), paid to the
            player who does it, so that rewards differ. It is reported in `info["shaped"]` whatever the weight.
        random_start: players begin anywhere they can walk to, facing anywhere; each hand and pot is filled with
            probability one half. Otherwise: at their places, facing north, empty.
        observation: "vector", all that matters in this kitchen as numbers, oneself first; "grid", planes
            `[height, width, channel]`.
        observe_time: adds the share of the time that is left (vector only).
    """

    layout: str = eqx.field(static=True, default="cramped_room")
    dynamics: Literal["old", "new"] = eqx.field(static=True, default="old")
    cook_time: int = eqx.field(static=True, default=20)
    horizon: int = eqx.field(static=True, default=400)
    soup_reward: float = eqx.field(static=True, default=20.0)
    shaping: float = eqx.field(static=True, default=0.0)
    random_start: bool = eqx.field(static=True, default=False)
    observation: Literal["vector", "grid"] = eqx.field(static=True, default="vector")
    observe_time: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        if self.dynamics not in ("old", "new") or self.observation not in ("vector", "grid"):
            raise InvalidGame(
                f"dynamics must be 'old' or 'new' and observation 'vector' or 'grid', got {self.dynamics!r} and "
                f"{self.observation!r}"
            )
        if not (1 <= self.cook_time <= 120 and 1 <= self.horizon <= 32_767):  # they are kept in 8 and 16 bits
            raise InvalidGame(f"cook_time must be 1 … 120 and horizon 1 … 32767, got {self.cook_time}, {self.horizon}")
        _ = self.kitchen

    @property
    def kitchen(self) -> Layout:
        """The parsed layout."""
        name = ALIASES.get(self.layout, self.layout)
        if name in LAYOUTS:
            return parse_layout(LAYOUTS[name])
        if not any(mark in name for mark in "/\n"):
            raise InvalidGame(
                f"there is no layout {name!r}; there are {', '.join(LAYOUTS)}, or give rows joined by '/'"
            )
        return parse_layout(tuple(name.strip("\n").replace("\n", "/").split("/")))

    @property
    def cooperative(self) -> bool:  # type: ignore[override]
        """Everybody is paid the same, unless shaping pays who does it."""
        return self.shaping == 0

    @property
    def num_agents(self) -> int:
        """One per digit in the layout."""
        return len(self.kitchen.starts)

    @property
    def action_space(self) -> Discrete:
        """north, south, east, west, stay, interact."""
        return Discrete(len(ACTIONS))

    @property
    def observation_spec(self) -> jax.ShapeDtypeStruct:
        """`[feature]` or `[height, width, channel]` float32."""
        kitchen, players = self.kitchen, self.num_agents
        if self.observation == "vector":
            return jax.ShapeDtypeStruct((vector_size(kitchen, players, self.observe_time),), jnp.float32)
        return jax.ShapeDtypeStruct((kitchen.height, kitchen.width, grid_channels(players)), jnp.float32)

    def reset(self, key: Key[Array, ""]) -> tuple[OvercookedState, Float[Array, "player ..."]]:
        """See `MarkovGame.reset`."""
        kitchen, players = self.kitchen, self.num_agents
        cells = jnp.array(kitchen.starts)
        facing, held = jnp.zeros(players, jnp.int8), jnp.zeros(players, jnp.int8)
        onions = jnp.zeros(len(kitchen.pots), jnp.int8)
        cooking = jnp.full(len(kitchen.pots), -1, jnp.int8)
        if self.random_start:
            key_place, key_face, key_held, key_onions, key_cook = jax.random.split(key, 5)
            cells = _random_cells(key_place, kitchen)
            facing = jax.random.randint(key_face, (players,), 0, 4).astype(jnp.int8)
            chance = jnp.array([0.5, 0.3, 0.1, 0.0, 0.0, 0.1])
            held = jax.random.choice(key_held, 6, (players,), p=chance).astype(jnp.int8)
            chance = jnp.array([0.5, 1 / 6, 1 / 6, 1 / 6])
            onions = jax.random.choice(key_onions, 4, onions.shape, p=chance).astype(jnp.int8)
            done = jax.random.randint(key_cook, cooking.shape, 0, self.cook_time + 1).astype(jnp.int8)
            cooking = jnp.where(onions == 3, done, -1).astype(jnp.int8)
        position = jnp.stack([cells % kitchen.width, cells // kitchen.width], axis=-1).astype(jnp.int8)
        counters = jnp.zeros(len(kitchen.counters), jnp.int8)
        state = OvercookedState(position, facing, held, counters, onions, cooking, jnp.zeros((), jnp.int16))
        return state, self.observe(state)

    def step(
        self, key: Key[Array, ""], state: OvercookedState, actions: Int[Array, " player"]
    ) -> tuple[OvercookedState, TimeStep]:
        """See `MarkovGame.step`. `info`: "soups" delivered (full ones) and "shaped" points, by player."""
        held, counters, onions, cooking, soups, shaped = self._interact(state, actions)
        position, facing = self._move(state, actions)
        busy = (cooking >= 0) & (cooking < self.cook_time)
        cooking = jnp.where(busy, cooking + 1, cooking).astype(jnp.int8)
        after = OvercookedState(position, facing, held, counters, onions, cooking, state.time + jnp.int16(1))
        players = self.num_agents
        paid = jnp.sum(soups) * (self.soup_reward / players)
        reward = jnp.full(players, paid, jnp.float32) + self.shaping * shaped
        return after, TimeStep(
            obs=self.observe(after),
            reward=reward,
            terminated=jnp.zeros(players, bool),
            truncated=after.time >= self.horizon,
            mask=jnp.ones(players, bool),
            info={"soups": soups, "shaped": shaped},
        )

    def observe(self, state: OvercookedState) -> Float[Array, "player ..."]:
        """See `MarkovGame.observe`."""
        left = 1 - state.time.astype(jnp.float32) / self.horizon
        if self.observation == "vector":
            return vector(state, self.kitchen, self.cook_time, left if self.observe_time else None)
        return grid_planes(state, self.kitchen, self.cook_time, left)

    def action_names(self) -> tuple[str, ...]:
        """See `MarkovGame.action_names`."""
        return ACTIONS

    def agent_names(self) -> tuple[str, ...]:
        """See `MarkovGame.agent_names`."""
        return tuple(f"cook_{i}" for i in range(self.num_agents))

    def render(self, state: OvercookedState) -> np.ndarray:
        """See `MarkovGame.render`."""
        from mairl.games.overcooked.render import render

        return render(self, state)

    def _interact(self, state: OvercookedState, actions):
        """Everybody's interaction in turn. Cells are compared with short lists of cells: no lookups in tables."""
        kitchen = self.kitchen
        held, counters, onions, cooking = state.held, state.counters, state.onions, state.cooking
        ready_before, some_before = cooking >= self.cook_time, onions > 0
        waiting_full = (onions == 3) & (cooking < 0)
        worth_a_dish = jnp.sum(ready_before | (cooking >= 0) | (some_before & ~waiting_full))
        ahead = facing_cell(state, kitchen)
        soups, shaped = [], []
        for i in range(self.num_agents):
            hand, cell = held[i], ahead[i]
            acts = actions[i] == INTERACT
            counter = _at(cell, kitchen.counters) & acts
            pot = _at(cell, kitchen.pots) & acts
            on_counter = jnp.sum(jnp.where(counter, counters, 0))
            in_pot, cooked = jnp.sum(jnp.where(pot, onions, 0)), jnp.sum(jnp.where(pot, cooking, 0))
            at_counter, at_pot = jnp.any(counter), jnp.any(pot)
            empty = hand == NOTHING
            drops, takes = at_counter & ~empty & (on_counter == NOTHING), at_counter & empty & (on_counter != NOTHING)
            gets_onion = acts & _near(cell, kitchen.onions) & empty
            gets_dish = acts & _near(cell, kitchen.dishes) & empty
            adds = at_pot & (hand == ONION) & (cooked < 0) & (in_pot < 3)
            fills = at_pot & (hand == DISH) & (cooked >= self.cook_time)
            if self.dynamics == "old":
                starts = adds & (in_pot == 2)
            else:
                starts = at_pot & empty & (cooked < 0) & (in_pot > 0)
            serves = acts & _near(cell, kitchen.serving) & (hand >= SOUP)
            dishes_about = jnp.any(counters == DISH)
            useful = gets_dish & ~dishes_about & (jnp.sum(held == DISH) < worth_a_dish)
            useful = useful & (self.num_agents == 2)
            soups.append(serves & (hand == FULL_SOUP))
            shaped.append(3.0 * adds + 3.0 * useful + 5.0 * fills)
            counters = jnp.where(counter & drops, hand, jnp.where(counter & takes, NOTHING, counters)).astype(jnp.int8)
            new_hand = jnp.where(drops | adds | serves, NOTHING, hand)
            new_hand = jnp.where(takes, on_counter, new_hand)
            new_hand = jnp.where(gets_onion, ONION, jnp.where(gets_dish, DISH, new_hand))
            new_hand = jnp.where(fills, SOUP - 1 + in_pot, new_hand)
            onions = jnp.where(pot & adds, onions + 1, jnp.where(pot & fills, 0, onions)).astype(jnp.int8)
            cooking = jnp.where(pot & starts, 0, jnp.where(pot & fills, -1, cooking)).astype(jnp.int8)
            held = held.at[i].set(new_hand.astype(jnp.int8))
        return held, counters, onions, cooking, jnp.stack(soups).astype(jnp.float32), jnp.stack(shaped)

    def _move(self, state: OvercookedState, actions):
        """Steps onto floor; if any two would meet or swap, everybody stays (as in the original); all still turn."""
        kitchen = self.kitchen
        moves = actions < 4
        facing = jnp.where(moves, actions, state.facing).astype(jnp.int8)
        offset = _steps(actions)
        cells = state.position[:, 0] + kitchen.width * state.position[:, 1].astype(jnp.int32)
        wanted = state.position + offset
        target = wanted[:, 0] + kitchen.width * wanted[:, 1].astype(jnp.int32)
        free = jnp.any(target[:, None] == jnp.array(kitchen.floor), axis=-1)
        target = jnp.where(free, target, cells)
        clash = jnp.zeros((), bool)
        for i in range(self.num_agents):
            for j in range(i):
                meet = target[i] == target[j]
                swap = (target[i] == cells[j]) & (target[j] == cells[i])
                clash = clash | meet | swap
        position = jnp.where((free & ~clash)[:, None], wanted, state.position).astype(jnp.int8)
        return position, facing


def facing_cell(state: OvercookedState, kitchen: Layout) -> Int[Array, " player"]:
    """The cell in front of each player."""
    ahead = state.position + _steps(state.facing)
    return ahead[:, 0] + kitchen.width * ahead[:, 1].astype(jnp.int32)


def _steps(directions: Int[Array, " player"]) -> Int[Array, "player 2"]:
    """(dx, dy) of each direction or action, by comparison instead of a table."""
    x = (directions == 2).astype(jnp.int8) - (directions == 3).astype(jnp.int8)
    y = (directions == 1).astype(jnp.int8) - (directions == 0).astype(jnp.int8)
    return jnp.stack([x, y], axis=-1)


def _at(cell: Int[Array, ""], cells: tuple[int, ...]) -> Bool[Array, " cell"]:
    return cell == jnp.array(cells, jnp.int32)


def _near(cell: Int[Array, ""], cells: tuple[int, ...]) -> Bool[Array, ""]:
    return jnp.any(_at(cell, cells))


def _random_cells(key, kitchen: Layout) -> Int[Array, " player"]:
    """A cell for each player in its own region, all different: in turn, uniform over the cells that are left."""
    taken = jnp.zeros(kitchen.height * kitchen.width, bool)
    cells = []
    for region, k in zip(kitchen.regions, jax.random.split(key, len(kitchen.regions))):
        options = jnp.array(region)
        logits = jnp.where(taken[options], -jnp.inf, 0.0)
        cell = options[jax.random.categorical(k, logits)]
        taken = taken.at[cell].set(True)
        cells.append(cell)
    return jnp.stack(cells)


assert STEPS[:4] == ((0, -1), (0, 1), (1, 0), (-1, 0))  # `_steps` spells them out

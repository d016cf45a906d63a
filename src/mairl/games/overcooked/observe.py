"""What cooks see."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mairl.games.overcooked.layout import Layout
from mairl.games.overcooked.types import DISH, ONION, SOUP, OvercookedState

PER_POT = 7
PER_COUNTER = 4
HANDS = 6


def vector_size(kitchen: Layout, players: int, observe_time: bool) -> int:
    """Length of `vector` for one player."""
    counters = int(kitchen.reachable(kitchen.counters).sum())
    each = len(kitchen.floor) + 4 + HANDS
    return players * each + PER_COUNTER * counters + PER_POT * len(kitchen.pots) + int(observe_time)


def vector(
    state: OvercookedState, kitchen: Layout, cook_time: int, left: Float[Array, ""] | None
) -> Float[Array, "player feature"]:
    """Everything that matters, as numbers in [0, 1], the same for all players but for who comes first.

    Players (oneself, then the others in order): floor cell, direction and object in hand, one-hot. Each counter
    that can be reached: onion, dish, soup, and the soup's share of three onions. Each pot: 0 … 3 onions one-hot,
    cooking, ready, share of the cook time. Last, the share of the time that is left.
    """
    players = state.facing.shape[0]
    cells = state.position[:, 0] + kitchen.width * state.position[:, 1].astype(jnp.int32)
    place = (cells[:, None] == jnp.array(kitchen.floor)).astype(jnp.float32)
    facing = jax.nn.one_hot(state.facing, 4)
    hand = jax.nn.one_hot(state.held, HANDS)
    each = jnp.concatenate([place, facing, hand], axis=-1)
    usable = np.flatnonzero(kitchen.reachable(kitchen.counters))
    lying = state.counters[usable] if len(usable) else jnp.zeros(0, jnp.int8)
    soup = lying >= SOUP
    on_counters = jnp.stack([lying == ONION, lying == DISH, soup, soup * (lying - SOUP + 1) / 3], axis=-1)
    started = state.cooking >= 0
    ready = state.cooking >= cook_time
    pots = jnp.concatenate(
        [
            jax.nn.one_hot(state.onions, 4),
            jnp.stack([started & ~ready, ready, jnp.maximum(state.cooking, 0) / cook_time], axis=-1),
        ],
        axis=-1,
    )
    shared = [on_counters.astype(jnp.float32).ravel(), pots.astype(jnp.float32).ravel()]
    if left is not None:
        shared.append(left[None])
    views = []
    for i in range(players):
        order = [i, *[j for j in range(players) if j != i]]
        views.append(jnp.concatenate([each[j] for j in order] + shared))
    return jnp.stack(views)


def grid_channels(players: int) -> int:
    """Number of planes of `grid_planes`."""
    return 5 * players + 5 + 4 + 4 + 1


def grid_planes(
    state: OvercookedState, kitchen: Layout, cook_time: int, left: Float[Array, ""]
) -> Float[Array, "player y x channel"]:
    """The kitchen as planes, oneself first. Nothing is lost.

    For each player: where it is, and where it is for each direction it faces. Then counters, pots, onions, dishes,
    windows; onions in pots / 3, cooking, ready, share of the cook time; onions, dishes, soups lying or held, and
    soups' share of three onions; the share of the time that is left, everywhere.
    """
    size, players = kitchen.height * kitchen.width, state.facing.shape[0]
    everywhere = jnp.arange(size)
    cells = state.position[:, 0] + kitchen.width * state.position[:, 1].astype(jnp.int32)
    at = (everywhere[None] == cells[:, None]).astype(jnp.float32)
    turned = at[:, :, None] * jax.nn.one_hot(state.facing, 4)[:, None]
    own = jnp.concatenate([at[:, :, None], turned], axis=-1)
    fixed = np.zeros((size, 5), np.float32)
    for k, group in enumerate((kitchen.counters, kitchen.pots, kitchen.onions, kitchen.dishes, kitchen.serving)):
        fixed[list(group), k] = 1.0
    of_pot = np.zeros((size, len(kitchen.pots)), np.float32)
    of_pot[list(kitchen.pots), range(len(kitchen.pots))] = 1.0
    started, ready = state.cooking >= 0, state.cooking >= cook_time
    share = jnp.maximum(state.cooking, 0) / cook_time
    pots = of_pot @ jnp.stack([state.onions / 3, started & ~ready, ready, share], axis=-1).astype(jnp.float32)
    of_counter = np.zeros((size, len(kitchen.counters)), np.float32)
    of_counter[list(kitchen.counters), range(len(kitchen.counters))] = 1.0
    things = of_counter @ _kinds(state.counters) + at.T @ _kinds(state.held)
    clock = jnp.broadcast_to(left, (size, 1))
    views = []
    for i in range(players):
        order = [i, *[j for j in range(players) if j != i]]
        planes = [own[j] for j in order] + [jnp.asarray(fixed), pots, things, clock]
        views.append(jnp.concatenate(planes, axis=-1).reshape(kitchen.height, kitchen.width, -1))
    return jnp.stack(views)


def _kinds(objects) -> Float[Array, "object 4"]:
    soup = objects >= SOUP
    parts = [objects == ONION, objects == DISH, soup, soup * (objects - SOUP + 1) / 3]
    return jnp.stack(parts, axis=-1).astype(jnp.float32)

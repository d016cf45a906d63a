"""Coin Game: what one takes may be the other's loss (Lerer & Peysakhovich 2017; Foerster et al. 2018, LOLA)."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from mairl.core.errors import InvalidGame
from mairl.core.game import MarkovGame, TimeStep
from mairl.core.spaces import Discrete

ACTIONS = ("up", "down", "left", "right")
MOVES = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]], np.int32)
"""`[action, (row, column)]`."""

FEATURES = ("taken", "lost", "own_taken", "other_taken", "far")
"""Of a step: 1 if one took the coin; 1 if the other took a coin of one's own colour; 1 if one took a coin of one's own
colour; 1 if the other took the coin; moves from where one is then to where the coin was. The game pays for the first
two only."""

TAKEN, LOST = 1.0, -2.0
"""What the game pays for the first two features."""


class CoinState(eqx.Module):
    """Cells are counted row by row.

    Attributes:
        place: `[agent]` cells.
        coin: the coin's cell.
        colour: whose it is.
        time: steps so far.
    """

    place: Int[Array, "2"]
    coin: Int[Array, ""]
    colour: Int[Array, ""]
    time: Int[Array, ""]


class CoinGame(MarkovGame):
    """Two agents on a grid whose edges join. One coin lies on it, of either's colour: whoever steps on it gets 1, and
    if it was the other's, the other loses 2. It is then replaced by one of a random colour on a random free cell. Each
    for oneself, all coins are taken and nobody gains; both do well if each leaves the other's coins alone.

    Attributes:
        size: cells along a side, 2 or more.
        horizon: steps of an episode.
    """

    size: int = eqx.field(static=True, default=3)
    horizon: int = eqx.field(static=True, default=50)

    num_agents: ClassVar[int] = 2
    action_space: ClassVar[Discrete] = Discrete(len(ACTIONS))

    def __check_init__(self):
        if self.size < 2:
            raise InvalidGame(f"size must be at least 2, got {self.size}")
        if self.horizon < 1:
            raise InvalidGame(f"horizon must be at least 1, got {self.horizon}")

    @property
    def observation_spec(self) -> jax.ShapeDtypeStruct:
        """`[row, column, (self, the other, own coin, the other's coin)]`, ones and zeros."""
        return jax.ShapeDtypeStruct((self.size, self.size, 4), jnp.float32)

    def reset(self, key: Key[Array, ""]) -> tuple[CoinState, Array]:
        """See `MarkovGame.reset`: agents and coin are on three cells at random, the coin of either colour."""
        key_cells, key_colour = jax.random.split(key)
        cells = jax.random.permutation(key_cells, self.size**2)[:3].astype(jnp.int32)
        colour = jax.random.randint(key_colour, (), 0, 2, jnp.int32)
        state = CoinState(cells[:2], cells[2], colour, jnp.int32(0))
        return state, self.observe(state)

    def step(self, key: Key[Array, ""], state: CoinState, actions: Int[Array, "2"]) -> tuple[CoinState, TimeStep]:
        """See `MarkovGame.step`."""
        place = self._moved(state.place, actions)
        drawn = jax.random.categorical(key, jnp.log(self._chances(state, place))).astype(jnp.int32)
        next_state = CoinState(place, drawn // 2, drawn % 2, state.time + 1)
        features = self.features(state, actions, next_state)
        return next_state, TimeStep(
            obs=self.observe(next_state),
            reward=features @ jnp.asarray(_weights(), jnp.float32),
            terminated=jnp.zeros(2, bool),
            truncated=next_state.time >= self.horizon,
            mask=jnp.ones(2, bool),
            info={name: features[:, FEATURES.index(name)] for name in ("taken", "own_taken", "lost")},
        )

    def observe(self, state: CoinState) -> Float[Array, "agent row column 4"]:
        """See `MarkovGame.observe`."""
        cells = self.size**2
        agents, coin = jax.nn.one_hot(state.place, cells), jax.nn.one_hot(state.coin, cells)
        own = jnp.arange(2)[:, None] == state.colour
        seen = jnp.stack([agents, agents[::-1], coin * own, coin * ~own], axis=-1)
        return seen.reshape(2, self.size, self.size, 4)

    def successors(
        self, key: Key[Array, ""], state: CoinState, actions: Int[Array, "2"]
    ) -> tuple[CoinState, Bool[Array, "branch agent"], Float[Array, " branch"]]:
        """See `MarkovGame.successors`: one branch for each cell and colour of the coin."""
        place = self._moved(state.place, actions)
        chances = self._chances(state, place)
        branch = jnp.arange(chances.shape[0], dtype=jnp.int32)

        def of(b):
            return CoinState(place, b // 2, b % 2, state.time + 1)

        return jax.vmap(of)(branch), jnp.zeros((chances.shape[0], 2), bool), chances

    def feature_names(self) -> tuple[str, ...]:
        """See `MarkovGame.feature_names`."""
        return FEATURES

    def features(self, state: CoinState, actions: Array, next_state: CoinState) -> Float[Array, "agent feature"]:
        """See `MarkovGame.features`."""
        taken = next_state.place == state.coin
        own = jnp.arange(2) == state.colour
        rows, columns = jnp.divmod(jnp.stack([next_state.place, jnp.full(2, state.coin)]), self.size)
        apart = [jnp.abs(x[0] - x[1]) for x in (rows, columns)]
        far = sum(jnp.minimum(x, self.size - x) for x in apart)
        columns = [taken, taken[::-1] & own, taken & own, taken[::-1], far]
        return jnp.stack([jnp.asarray(c, jnp.float32) for c in columns], axis=1)

    def feature_weights(self) -> Float[np.ndarray, "agent feature"]:
        """See `MarkovGame.feature_weights`."""
        return np.tile(_weights(), (2, 1))

    def agent_names(self) -> tuple[str, ...]:
        """See `MarkovGame.agent_names`."""
        return ("blue", "red")

    def action_names(self) -> tuple[str, ...]:
        """See `MarkovGame.action_names`."""
        return ACTIONS

    def render(self, state: CoinState) -> UInt8[np.ndarray, "height width 3"]:
        """Agents as discs (half discs where they share a cell), the coin as a ring of its owner's colour."""
        image = np.empty((self.size * CELL, self.size * CELL, 3), np.uint8)
        image[:] = BACKGROUND
        image[::CELL] = image[:, ::CELL] = image[-1] = image[:, -1] = LINES
        along = (np.arange(CELL) + 0.5) / CELL * 2 - 1
        u, v = np.meshgrid(along, along)

        def box(cell):
            row, column = divmod(int(cell), self.size)
            return image[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]

        ring = np.abs(np.hypot(u, v) - 0.75) < 0.1
        box(state.coin)[ring] = COLOURS[int(state.colour)]
        place = np.asarray(state.place)
        for i, cell in enumerate(place):
            half = (u < 0 if i == 0 else u >= 0) if place[0] == place[1] else np.ones_like(u, bool)
            box(cell)[half & (np.hypot(u, v) < 0.5)] = COLOURS[i]
        return image

    def _moved(self, place: Int[Array, "2"], actions: Int[Array, "2"]) -> Int[Array, "2"]:
        row, column = jnp.divmod(place, self.size)
        move = jnp.asarray(MOVES)[actions]
        return (row + move[:, 0]) % self.size * self.size + (column + move[:, 1]) % self.size

    def _chances(self, state: CoinState, place: Int[Array, "2"]) -> Float[Array, " branch"]:
        """Probabilities of where the coin is next, two for each cell: blue and red. It stays if nobody took it."""
        cells = jnp.arange(self.size**2)
        free = jnp.all(cells[:, None] != place, axis=1)
        anew = jnp.repeat(free / (2.0 * jnp.sum(free)), 2)
        stays = jnp.arange(2 * self.size**2) == 2 * state.coin + state.colour
        return jnp.where(jnp.any(place == state.coin), anew, stays.astype(jnp.float32))


CELL = 48
"""Pixels along a cell's side."""

BACKGROUND, LINES = (246, 244, 239), (222, 219, 211)
COLOURS = ((38, 98, 190), (200, 55, 55))


def _weights() -> np.ndarray:
    return np.array([TAKEN, LOST, 0.0, 0.0, 0.0])

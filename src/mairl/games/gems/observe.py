"""What an agent sees in Gems. All views put the agent itself and its own colour first: roles are symmetric."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mairl.games.gems.types import GemsState


def entities(state: GemsState, colours: np.ndarray, size: int, left: Float[Array, ""] | None) -> dict[str, Array]:
    """A set of gems, for an entity encoder: float32, each value within [-1, 1].

    - `ego` `[agent, 8 or 9]`: own x and y (scaled to [-1, 1]), the partner's offset (2), direction (2) and closeness,
      whether one stands on a purple gem, time left if observed.
    - `entities` `[agent, gem, 10]`: offset (2: cells / size), direction (2: signs), closeness 1 / (1 + distance) to
      oneself, then to the partner; whether the partner stands there; own colour, partner's colour, purple.
    - `mask` `[agent, gem]`: not collected yet.

    Directions and closeness are redundant, but a small network cannot get them sharply out of the offsets.
    """

    def view(me, partner, mine):
        offset = state.gems - me
        distance = jnp.sum(jnp.abs(offset), axis=-1)
        beyond = jnp.sum(jnp.abs(state.gems - partner), axis=-1)
        kinds = np.stack([colours == 0, colours == 1, colours == 2], axis=-1).astype(np.float32)
        kind = jnp.where(mine == 0, kinds, kinds[:, [1, 0, 2]])
        gems = jnp.concatenate(
            [
                offset / size,
                jnp.sign(offset),
                (1 / (1 + distance))[:, None],
                (1 / (1 + beyond))[:, None],
                (beyond == 0)[:, None],
                kind,
            ],
            axis=-1,
        )
        apart = partner - me
        waiting = jnp.any((distance == 0) & state.alive & (colours == 2))
        ego = [
            2 * me / max(size - 1, 1) - 1,
            apart / size,
            jnp.sign(apart),
            1 / (1 + jnp.sum(jnp.abs(apart), keepdims=True)),
            waiting[None],
        ]
        if left is not None:
            ego.append(left[None])
        return {
            "ego": jnp.concatenate([jnp.asarray(x, jnp.float32) for x in ego]),
            "entities": gems.astype(jnp.float32),
            "mask": state.alive,
        }

    return jax.vmap(view)(state.agents, state.agents[::-1], jnp.arange(2))


def planes(state: GemsState, colours: np.ndarray, size: int, left: None) -> Float[Array, "agent y x 5"]:
    """Five planes of 0 and 1 (float32): oneself, the partner, gems of one's own colour, of the partner's, purple."""
    del left
    things = jnp.concatenate([state.agents, state.gems])
    present = jnp.concatenate([jnp.ones(2, bool), state.alive])
    along_x = jax.nn.one_hot(things[:, 0], size) * present[:, None]
    along_y = jax.nn.one_hot(things[:, 1], size)
    plane = np.concatenate([[0, 1], 2 + colours])
    # [thing, y, x] summed within each plane; two things of one plane never share a cell but in `respawn`'s full grids.
    own = jnp.einsum("ny,nx,nc->yxc", along_y, along_x, np.eye(5, dtype=np.float32)[plane])
    own = jnp.minimum(own, 1)
    return jnp.stack([own, own[..., np.array([1, 0, 3, 2, 4])]])


def vector(state: GemsState, colours: np.ndarray, size: int, left: Float[Array, ""] | None) -> Float[Array, "agent f"]:
    """One vector (float32): own x and y and the partner's, one-hot (4 size); each gem's offset in cells / size and
    whether it is there (0 throughout if not), own colour first, then the partner's, then purple; time left if
    observed. It needs as many blue as red gems to mean the same to both agents; the lengths agree in any case.
    """
    spots = jax.nn.one_hot(state.agents, size).reshape(2, 2 * size)
    order = np.argsort(colours, kind="stable")
    swapped = np.concatenate([order[colours == 1], order[colours == 0], order[colours == 2]])

    def view(me, gems, alive, spot, spot_of_partner):
        offset = (gems - me) / size
        gem = jnp.concatenate([offset, jnp.ones((len(colours), 1))], axis=-1) * alive[:, None]
        parts = [spot, spot_of_partner, gem.reshape(-1)] + ([] if left is None else [left[None]])
        return jnp.concatenate(parts).astype(jnp.float32)

    gems = jnp.stack([state.gems, state.gems[swapped]])
    alive = jnp.stack([state.alive, state.alive[swapped]])
    return jax.vmap(view)(state.agents, gems, alive, spots, spots[::-1])


def ranked(state: GemsState, colours: np.ndarray, size: int, left: Float[Array, ""] | None) -> Float[Array, "agent f"]:
    """One vector (float32) whose gems stand in order of distance, so that a plain MLP carries over to random layouts.

    Own place and the partner's offset; own gems, nearest first; the partner's, nearest to it first; purple gems, by
    the sum of both agents' distances, so that both see them in the same order, each with both agents' offsets. An
    offset is (dx, dy) / size, its signs, and the number of moves / size; 0 throughout for gems that are gone.
    """

    def offsets(origin, gems, alive):
        away = (gems - origin).astype(jnp.float32)
        moves = jnp.sum(jnp.abs(away), axis=-1)
        parts = jnp.concatenate([away / size, jnp.sign(away), moves[:, None] / size, jnp.ones_like(moves)[:, None]], -1)
        return parts * alive[:, None], jnp.where(alive, moves, 4.0 * size)

    def in_order(features, distance):
        """Rows by rising distance, ties by index: ranks by comparison and a product, cheaper than a sort."""
        index = jnp.arange(distance.shape[0])
        before = (distance[None] < distance[:, None]) | (
            (distance[None] == distance[:, None]) & (index[None] < index[:, None])
        )
        rank = jnp.sum(before, axis=1)
        return (rank[None] == index[:, None]).astype(jnp.float32) @ features

    groups = [np.flatnonzero(colours == c) for c in range(3)]

    def view(me, partner, mine, theirs):
        own, own_moves = offsets(me, state.gems[mine], state.alive[mine])
        other, other_moves = offsets(partner, state.gems[theirs], state.alive[theirs])
        near, near_moves = offsets(me, state.gems[groups[2]], state.alive[groups[2]])
        far, far_moves = offsets(partner, state.gems[groups[2]], state.alive[groups[2]])
        shared = in_order(jnp.concatenate([near, far], axis=-1), near_moves + far_moves)
        apart = (partner - me).astype(jnp.float32)
        parts = [me / size, apart / size, jnp.sign(apart), in_order(own, own_moves).ravel()]
        parts += [in_order(other, other_moves).ravel(), shared.ravel()] + ([] if left is None else [left[None]])
        return jnp.concatenate(parts).astype(jnp.float32)

    a, b = state.agents[0], state.agents[1]
    return jnp.stack([view(a, b, groups[0], groups[1]), view(b, a, groups[1], groups[0])])


OBSERVATIONS = {"entities": entities, "planes": planes, "vector": vector, "ranked": ranked}

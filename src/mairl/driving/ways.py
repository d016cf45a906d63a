"""The way through the lanes from where each vehicle starts to its goal: what a navigator tells a driver.

On the host, the shortest way through the graph of lanes, lane changes included: of the log it knows the end only. On
the device, what of it lies ahead of each vehicle. Where no lanes lead to a goal, the way is the straight line.
"""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from mairl.core.arrays import on_device
from mairl.driving.lane_index import LINKS, LaneConfig, cut
from mairl.driving.prepare import GOAL, LOG, Prepared
from mairl.driving.segments import LEVEL
from mairl.scenarios.schema import Lanes

WAY = ("x", "y", "cos", "sin")
"""Of a place of a way, metres, and where it leads from there."""

PLACES = 64
"""Places of a way, at even distances."""

PIECE = LaneConfig(piece=5.0)
"""Of lanes, between which ways lead: from middle to middle."""

CHANGE = 4
"""Pieces further along the neighbouring lane at which a lane change ends."""

DETOUR = 5.0
"""Metres that a lane change counts for."""

JOIN, ASIDE = 15.0, 4.0
"""Metres ahead and to the side within which vehicles and goals are joined to lanes that point their way, by
less than 60 degrees; a metre to the side counts as two ahead."""

BEHIND = 1.0
"""Metres by which a joined piece may lie on the wrong side."""

TURNED = 10.0
"""Metres that a place which leads the opposite way counts as farther away, over √2: ways may cross themselves."""

AHEAD = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0)
"""Metres ahead, at which who is told the way is usually told it."""


class Ways(eqx.Module):
    """Ways of the vehicles that may be driven.

    Attributes:
        places: `WAY`; zeros in places without a vehicle.
        gap: metres from one place to the next.
    """

    places: Float[Array, "world 4 place agent"]
    gap: Float[Array, "world agent"]

    @property
    def num_bytes(self) -> int:
        """On the device."""
        return self.places.nbytes + self.gap.nbytes


def ahead(
    ways: Ways,
    world: Int[Array, ""],
    own_x: Float[Array, " agent"],
    own_y: Float[Array, " agent"],
    own_c: Float[Array, " agent"],
    own_s: Float[Array, " agent"],
    distances: Sequence[float],
) -> Float[Array, "agent feature"]:
    """Of each agent's way, in metres: how much is left, then x and y, in the agent's frame, of the places so many
    metres ahead; beyond the end, of the end.

    Args:
        own_x, own_y, own_c, own_s: where each agent is, cosine and sine of its heading.
    """
    x, y, c, s = ways.places[world]
    gap = jnp.maximum(ways.gap[world], 1e-3)
    last = x.shape[0] - 1
    dx, dy = own_x - x, own_y - y
    far = dx * dx + dy * dy + TURNED**2 * (1.0 - (c * own_c + s * own_s))
    nearest = jnp.argmin(far, axis=0)[None]

    def there(values: Array) -> Array:
        return jnp.take_along_axis(values, nearest, axis=0)[0]

    # Counted in places, as `at` below.
    beyond = there(dx) * there(c) + there(dy) * there(s)
    station = jnp.clip(nearest[0] + beyond / gap, 0.0, last)
    at = jnp.minimum(station + jnp.asarray(distances, jnp.float32)[:, None] / gap, last)
    before = jnp.minimum(at.astype(jnp.int32), last - 1)
    share = at - before

    def between(values: Array) -> Array:
        return (1.0 - share) * jnp.take_along_axis(values, before, axis=0) + share * jnp.take_along_axis(
            values, before + 1, axis=0
        )

    x, y = between(x) - own_x, between(y) - own_y
    left = (last - station) * ways.gap[world]
    return jnp.concatenate([left[None], x * own_c + y * own_s, y * own_c - x * own_s]).T


def ways_of(lanes: Sequence[Lanes], scenes: Sequence[Prepared], num_agents: int) -> Ways:
    """The ways of the first `num_agents` candidates of each scene."""
    places = np.zeros((len(scenes), len(WAY), PLACES, num_agents))
    gap = np.zeros((len(scenes), num_agents))
    for k, (road, scene) in enumerate(zip(lanes, scenes, strict=True)):
        who = scene.candidates[:num_agents]
        begin = [scene.log[scene.start, LOG.index(name)][who] for name in ("x", "y", "z", "heading")]
        end = [scene.goal[GOAL.index(name)][who] for name in ("x", "y", "z", "heading")]
        for slot, line in enumerate(shortest(road, np.stack(begin, 1), np.stack(end, 1))):
            places[k, :, :, slot], gap[k, slot] = even(line)
    return Ways(on_device(places, jnp.float32), on_device(gap, jnp.float32))


def shortest(
    lanes: Lanes, begin: Float[np.ndarray, "vehicle 4"], end: Float[np.ndarray, "vehicle 4"]
) -> list[Float[np.ndarray, "point 2"]]:
    """For each vehicle the points of its way, the first where it begins, the last at its end; two where no lanes lead
    there.

    Args:
        begin, end: x, y, z in metres, heading.
    """
    _, points, _, links = cut(lanes, PIECE)
    links = links[1:]
    middle = points[:, :, points.shape[2] // 2]
    along = points[:, :2, -1] - points[:, :2, 0]
    along = along / np.maximum(np.hypot(*along.T), 1e-9)[:, None]
    count, vehicles = len(points), len(begin)
    first, last = count + np.arange(vehicles), count + vehicles + np.arange(vehicles)
    edges = [*_along_lanes(middle, links)]
    # Who begins, seen from there; whoever is at the end, from each piece.
    for vehicle in range(vehicles):
        fits, cost = _joined(begin[vehicle], middle, along)
        edges.append((np.full(fits.sum(), first[vehicle]), np.flatnonzero(fits), cost[fits]))
        fits, cost = _joined(end[vehicle], middle, along, backwards=True)
        edges.append((np.flatnonzero(fits), np.full(fits.sum(), last[vehicle]), cost[fits]))
        direction = np.array([[np.cos(end[vehicle, 3]), np.sin(end[vehicle, 3])]])
        fits, cost = _joined(begin[vehicle], end[vehicle : vehicle + 1, :3], direction)
        edges.append((first[vehicle : vehicle + 1][fits], last[vehicle : vehicle + 1][fits], cost[fits]))
    a, b, cost = (np.concatenate(part) for part in zip(*edges, strict=True))
    total = count + 2 * vehicles
    # Of several edges between two, the shortest: sparse matrices would add them.
    order = np.lexsort((cost, b, a))
    a, b, cost = a[order], b[order], cost[order]
    new = np.r_[True, (np.diff(a) != 0) | (np.diff(b) != 0)] if len(a) else np.zeros(0, bool)
    graph = coo_array((np.maximum(cost[new], 1e-6), (a[new], b[new])), shape=(total, total)).tocsr()
    before = np.atleast_2d(dijkstra(graph, indices=first, return_predecessors=True)[1]) if vehicles else []
    spots = np.concatenate([middle[:, :2], begin[:, :2], end[:, :2]])
    found = []
    for vehicle, tree in enumerate(before):
        way = [last[vehicle]]
        while tree[way[-1]] >= 0:
            way.append(tree[way[-1]])
        found.append(spots[way[::-1]] if way[-1] == first[vehicle] else spots[[first[vehicle], last[vehicle]]])
    return found


def _along_lanes(middle: np.ndarray, links: np.ndarray):
    """Edges from piece to piece: to those that follow, and to a neighbouring lane `CHANGE` pieces further on, or as far
    as that goes. Yields from, to, metres."""
    successor, left, right = (
        [k for k, name in enumerate(LINKS) if name == wanted] for wanted in ("successor", "left", "right")
    )
    for link in successor:
        a = np.flatnonzero(links[:, link])
        b = links[a, link] - 1
        yield a, b, np.hypot(*(middle[b] - middle[a])[:, :2].T)
    for link in (*left, *right):
        a = np.flatnonzero(links[:, link])
        b = links[a, link] - 1
        for _ in range(CHANGE):
            follows = links[b, successor[0]]
            b = np.where(follows > 0, follows - 1, b)
        yield a, b, np.hypot(*(middle[b] - middle[a])[:, :2].T) + DETOUR


def _joined(
    where: np.ndarray, spots: np.ndarray, along: np.ndarray, backwards: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Which spots a vehicle is joined to, and at how many metres: those ahead of it, or behind it."""
    c, s = np.cos(where[3]), np.sin(where[3])
    dx, dy, dz = (spots - where[:3]).T
    on, aside = dx * c + dy * s, np.abs(dy * c - dx * s)
    on = -on if backwards else on
    fits = (on >= -BEHIND) & (on <= JOIN) & (aside <= ASIDE) & (np.abs(dz) <= LEVEL)
    fits &= along[:, 0] * c + along[:, 1] * s >= 0.5
    return fits, np.hypot(dx, dy) + 2.0 * aside


def even(line: Float[np.ndarray, "point 2"]) -> tuple[np.ndarray, float]:
    """A way at `PLACES` places, `[WAY, place]`, and the metres between them."""
    step = np.hypot(*np.diff(line, axis=0).T)
    line, step = line[np.r_[True, step > 1e-6]], step[step > 1e-6]
    station = np.r_[0.0, np.cumsum(step)]
    at = np.linspace(0.0, station[-1], PLACES)
    x, y = (np.interp(at, station, column) for column in line.T)
    dx, dy = np.gradient(x), np.gradient(y)
    norm = np.maximum(np.hypot(dx, dy), 1e-9)
    return np.stack([x, y, dx / norm, dy / norm]), at[1]

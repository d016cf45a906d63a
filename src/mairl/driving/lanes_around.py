"""Lanes around vehicles, from the index: which lane each is on, and the graph of those near it in its own frame."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mairl.driving.lane_index import FACTS, POINTS, LaneIndex
from mairl.driving.segments import LEVEL
from mairl.driving.surroundings import PER_FAST, PER_UNIT, Scene

REACH = 2.5
"""Metres from a lane's centreline within which a vehicle is on it."""

ALIGNED = 0.5
"""Cosine of the greatest angle between a lane and a vehicle on it."""

LANE = (
    "x",
    "y",
    "half_length",
    "ux",
    "uy",
    "curvature",
    "width",
    "width_known",
    "limit",
    "limit_known",
    "left",
    "right",
    "z",
)
"""Of a piece of a lane: its middle, half its length, the direction from its begin to its end, curvature (× 10 m),
width, speed limit (/ FAST), 1 where either is known, the `LineType` on both sides (not divided), its height above the
ground under the vehicle."""


class OnLane(eqx.Module):
    """The lane that each vehicle is on: the nearest one of its level that points its way. Where `on` is False, the rest
    means nothing.

    Attributes:
        on: is on a lane.
        piece: of `LaneIndex`.
        along: metres from the piece's begin.
        offset: metres to the left of the centreline.
        cos, sin: of the vehicle's heading relative to the lane's.
        limit, limit_known: speed limit, m/s, and whether it is known.
    """

    on: Bool[Array, " vehicle"]
    piece: Int[Array, " vehicle"]
    along: Float[Array, " vehicle"]
    offset: Float[Array, " vehicle"]
    cos: Float[Array, " vehicle"]
    sin: Float[Array, " vehicle"]
    limit: Float[Array, " vehicle"]
    limit_known: Bool[Array, " vehicle"]


def on_lane(
    lanes: LaneIndex, rows: Int[Array, " vehicle"], vehicles: Scene, ground: Float[Array, " vehicle"]
) -> OnLane:
    """What `OnLane` says.

    Args:
        rows: from `RoadGrid.rows_at`.
        ground: height of the road under each vehicle, metres.
    """
    near = lanes.near.at[rows].get(mode="promise_in_bounds")
    points = lanes.points.at[near].get(mode="promise_in_bounds")
    x, y = points[:, :, 0] - vehicles.x[:, None, None], points[:, :, 1] - vehicles.y[:, None, None]
    z = points[:, :, 2, POINTS // 2]
    dx, dy = x[..., 1:] - x[..., :-1], y[..., 1:] - y[..., :-1]
    square = jnp.maximum(dx * dx + dy * dy, 1e-12)
    length = jnp.sqrt(square)
    share = jnp.clip(-(x[..., :-1] * dx + y[..., :-1] * dy) / square, 0.0, 1.0)
    far = (x[..., :-1] + share * dx) ** 2 + (y[..., :-1] + share * dy) ** 2
    ux, uy = dx / length, dy / length
    c, s = vehicles.c[:, None, None], vehicles.s[:, None, None]
    fits = (jnp.abs(z - ground[:, None]) < LEVEL)[..., None] & (far < REACH**2) & (ux * c + uy * s > ALIGNED)
    flat = jnp.where(fits, far, jnp.inf).reshape(len(near), -1)
    best = jnp.argmin(flat, axis=1)[:, None]

    def chosen(values: Array) -> Array:
        return jnp.take_along_axis(values.reshape(len(near), -1), best, axis=1)[:, 0]

    ux, uy = chosen(ux), chosen(uy)
    piece = jnp.take_along_axis(near, best // (POINTS - 1), axis=1)[:, 0]
    facts = lanes.facts.at[piece].get(mode="promise_in_bounds")
    part = facts[:, FACTS.index("length")] / (POINTS - 1)
    return OnLane(
        jnp.any(fits, axis=(1, 2)),
        piece,
        (best[:, 0] % (POINTS - 1) + chosen(share)) * part,
        # From the line through the part, so that it goes on evenly beyond the part's ends.
        chosen(x[..., :-1]) * uy - chosen(y[..., :-1]) * ux,
        vehicles.c * ux + vehicles.s * uy,
        vehicles.s * ux - vehicles.c * uy,
        facts[:, FACTS.index("limit")],
        facts[:, FACTS.index("limit_known")] > 0,
    )


def lanes_seen(
    lanes: LaneIndex,
    rows: Int[Array, " agent"],
    agents: Scene,
    ground: Float[Array, " agent"],
    count: int,
) -> tuple[Float[Array, "agent 13 piece"], Bool[Array, "agent piece"]]:
    """The first `count` pieces of each agent's row as `LANE`, and which places hold one of the agent's level."""
    near = lanes.near[:, :count].at[rows].get(mode="promise_in_bounds")
    points = lanes.points.at[near].get(mode="promise_in_bounds")
    facts = dict(zip(FACTS, jnp.moveaxis(lanes.facts.at[near].get(mode="promise_in_bounds"), 2, 0), strict=True))
    c, s = agents.c[:, None], agents.s[:, None]
    begin, middle, end = points[..., 0], points[..., POINTS // 2], points[..., -1]
    dx, dy = (middle[:, :, 0] - agents.x[:, None]) * PER_UNIT, (middle[:, :, 1] - agents.y[:, None]) * PER_UNIT
    way = end[:, :, :2] - begin[:, :, :2]
    square = jnp.sum(way * way, axis=2)
    norm = jnp.where(square > 0, 1.0 / jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
    ux, uy = way[:, :, 0] * norm, way[:, :, 1] * norm
    z = middle[:, :, 2]
    features = [
        dx * c + dy * s,
        dy * c - dx * s,
        0.5 * PER_UNIT * facts["length"],
        ux * c + uy * s,
        uy * c - ux * s,
        10.0 * facts["curvature"],
        PER_UNIT * facts["width"],
        facts["width_known"],
        PER_FAST * facts["limit"],
        facts["limit_known"],
        facts["left"],
        facts["right"],
        (jnp.where(jnp.isinf(z), 0.0, z) - ground[:, None]) * PER_UNIT,
    ]
    return jnp.stack(features, axis=1), jnp.abs(z - ground[:, None]) < LEVEL


def links_seen(
    lanes: LaneIndex, rows: Int[Array, " agent"], there: Bool[Array, "agent piece"]
) -> tuple[Int[Array, "agent link piece"], Bool[Array, "agent link piece"]]:
    """By `LINKS`, the places of the pieces that each piece seen leads to, and where there is one that is seen, too;
    elsewhere the place is 0 and means nothing.

    Args:
        there: from `lanes_seen`.
    """
    agents, count = there.shape
    local = lanes.local[:, :, :count].at[rows].get(mode="promise_in_bounds").astype(jnp.int32)
    place = jnp.where((local >= 0) & (local < count), local, 0)
    seen = jnp.take_along_axis(there, place.reshape(agents, -1), axis=1).reshape(place.shape)
    linked = (local >= 0) & (local < count) & seen & there[:, None]
    return jnp.where(linked, place, 0), linked

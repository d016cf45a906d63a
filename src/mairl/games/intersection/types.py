"""The intersection's state."""

from __future__ import annotations

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int

SLOWER, IDLE, FASTER = range(3)
ACTIONS = ("slower", "idle", "faster")
RIGHT, STRAIGHT, LEFT = range(3)
TURNS = ("right", "straight", "left")
APPROACH, CROSSING, EXIT = range(3)

LENGTH, WIDTH = 5.0, 2.0
"""Of every vehicle, metres."""

SPEEDS = (0.0, 4.5, 9.0)
"""Target speeds, m/s."""


class Body(eqx.Module):
    """Where vehicles are and what they are about to do. Metres, seconds, radians; y points down, as on a screen.

    Attributes:
        place: `[vehicle, 2]` centres, in the frame of the lane that is followed (see `mairl.games.intersection.lanes`).
        angle: `[vehicle]` heading in that frame.
        speed: `[vehicle]` m/s along the heading; may be negative after a crash.
        target: `[vehicle]` the speed that the controller tracks.
        lane: `[vehicle]` the lane that it follows: APPROACH, CROSSING or EXIT of its own route.
        crashed: `[vehicle]`.
        impact: `[vehicle, 2]` displacement (on the map) that a collision causes in the next sub-step.
        hit: `[vehicle]` whether there is one.
        gone: `[vehicle]` has left the scene: neither seen nor touched.
    """

    place: Float[Array, "vehicle 2"]
    angle: Float[Array, " vehicle"]
    speed: Float[Array, " vehicle"]
    target: Float[Array, " vehicle"]
    lane: Int[Array, " vehicle"]
    crashed: Bool[Array, " vehicle"]
    impact: Float[Array, "vehicle 2"]
    hit: Bool[Array, " vehicle"]
    gone: Bool[Array, " vehicle"]


class IntersectionState(eqx.Module):
    """A state of the game.

    Attributes:
        body: the vehicles.
        turn: `[vehicle]` RIGHT, STRAIGHT or LEFT; a vehicle's arm is its index modulo 4.
        arrived: `[vehicle]` has been 25 m down its exit.
        time: policy steps played.
    """

    body: Body
    turn: Int[Array, " vehicle"]
    arrived: Bool[Array, " vehicle"]
    time: Int[Array, ""]

"""Changing lanes by MOBIL.

A. Kesting, M. Treiber, D. Helbing, "General lane-changing model MOBIL for car-following models", Transp. Res. Rec. 1999
(2007), equations 2 and 5.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mairl.driving.idm import View, idm
from mairl.driving.paths import PATH, at_station

HALF_LANE = 1.75
"""Metres from the middle of a lane within which somebody is on it."""


def lane_offset(here: dict[str, Array], lane: Int[Array, " slot"]) -> Float[Array, " slot"]:
    """Metres to the left of each vehicle's path at which its lane is; 0 where there is none."""
    return jnp.select([lane == 1, lane == 2], [here["left"], here["right"]], 0.0)


def changed(
    view: View,
    path: Float[Array, "path time slot"],
    here: dict[str, Array],
    station: Float[Array, " slot"],
    lane: Int[Array, " slot"],
    aside: Float[Array, " slot"],
    rides: Bool[Array, " slot"],
) -> Int[Array, " slot"]:
    """Lanes after this moment's decisions. One vehicle a step decides, in turn, so that no two take the same gap.

    It changes where nobody has to brake harder than `safe` for it, and where what it gains in acceleration, and
    `politeness` times what both its followers do, is more than `threshold`.

    Args:
        here: `PATH` where each vehicle is.
        station, lane, aside: as in `autopilot.Riders`.
        rides: who is on its own.
    """
    driver, scene, worlds, world = view.driver, view.scene, view.worlds, view.world
    length = worlds.length[world]
    me = view.time % worlds.num_slots
    own, speed = path[:, :, me, None], scene.speed[me]
    x, y, c, s, wanted = (here[name][me] for name in ("x", "y", "cos", "sin", "wanted"))
    now = lane_offset(here, lane)[me]
    # A lane beside must go on for a while.
    further = dict(zip(PATH, at_station(own, station[me, None, None] + driver.lane_ahead)[:, 0, 0], strict=True))
    at_home = lane[me] == 0
    lanes = jnp.where(at_home, jnp.array([1, 2]), 0)
    beside = jnp.stack([here[name][me] for name in ("left", "right")])
    goes_on = jnp.stack([further[name] for name in ("left", "right")]) != 0
    offsets = jnp.where(at_home, beside, 0.0)
    possible = jnp.where(at_home, (beside != 0) & goes_on, jnp.array([True, False]))
    dx, dy = scene.x - x, scene.y - y
    along, across = dx * c + dy * s, dy * c - dx * s
    others = scene.present & (scene.c * c + scene.s * s > 0.5) & (jnp.arange(len(along)) != me)
    others &= jnp.abs(along) < driver.reach
    wants = jnp.where(rides, here["wanted"], scene.speed)

    def around(offset):
        """In a lane: (place of the leader, of the follower), each with whether there is one."""
        on = others & (jnp.abs(across - offset) < HALF_LANE)
        ahead, behind = on & (along >= 0), on & (along < 0)
        leader = jnp.argmin(jnp.where(ahead, along, jnp.inf))
        follower = jnp.argmax(jnp.where(behind, along, -jnp.inf))
        return (leader, jnp.any(ahead)), (follower, jnp.any(behind))

    def behind(follower, place, bumper, front_speed, known):
        """IDM of a follower behind whoever is at `place` along, half as long as `bumper`."""
        gap = jnp.where(known, place - along[follower] - length[follower] / 2 - bumper, jnp.inf)
        v = scene.speed[follower]
        return idm(v, wants[follower], gap, jnp.where(known, v - front_speed, 0.0), driver)

    def without_and_with(offset):
        """A follower's acceleration behind the leader of a lane, and behind me."""
        (leader, led), (follower, followed) = around(offset)
        free = behind(follower, along[leader], length[leader] / 2, scene.speed[leader], led)
        led_by_me = behind(follower, 0.0, length[me] / 2, speed, True)
        gaps = [along[leader] - length[leader] / 2, -along[follower] - length[follower] / 2]
        room = [~known | (gap - length[me] / 2 > driver.gap) for known, gap in zip((led, followed), gaps, strict=True)]
        return jnp.where(followed, free, 0.0), jnp.where(followed, led_by_me, 0.0), room[0] & room[1]

    def mine(offset):
        return view.least(
            own, station[me, None], speed[None], wanted[None], me[None], (jnp.broadcast_to(offset, (1,)),)
        )[0]

    old_without, old_with, _ = without_and_with(now)
    gains = []
    for k in range(2):
        new_without, new_with, room = without_and_with(offsets[k])
        after = mine(offsets[k])
        gain = after - mine(now) + driver.politeness * (new_with - new_without + old_without - old_with)
        safe = (new_with > -driver.safe) & (after > -driver.safe) & room & possible[k]
        gains.append(jnp.where(safe, gain, -jnp.inf))
    best = jnp.argmax(jnp.stack(gains))
    settled = (jnp.abs(aside[me] - now) < 0.1) & (speed > 3.0) & rides[me] & scene.present[me]
    change = settled & (jnp.stack(gains)[best] > driver.threshold)
    return lane.at[me].set(jnp.where(change, lanes[best], lane[me]))

"""Following by the intelligent driver model: how hard to accelerate behind whatever is in the way.

M. Treiber, A. Hennecke, D. Helbing, "Congested traffic states in empirical observations and microscopic simulations",
Phys. Rev. E 62 (2000), equations 1 to 3.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mairl.driving.geometry import same_level
from mairl.driving.paths import at_station
from mairl.driving.prepare import STOP
from mairl.driving.surroundings import Scene
from mairl.driving.world import Worlds

PIECE = 5.0
"""Metres of a path that count as straight where it is searched for what is in the way."""


@dataclasses.dataclass(frozen=True)
class Driver:
    """How vehicles drive on their own.

    Attributes:
        headway: seconds to whoever is ahead.
        gap: metres between bumpers when standing.
        accelerate, brake: at most, and comfortably; m/s².
        hardest: nobody brakes harder, m/s².
        margin: metres beside a vehicle that it wants free.
        reach: metres ahead within which it looks.
        changes: whether they change to the lane beside their path, and back.
        politeness: weight of others' gains in a change.
        threshold: gain in acceleration below which a change is not worth while, m/s².
        safe: deceleration that a change may cost, m/s².
        sideways: speed of a change, m/s.
        lane_ahead: metres for which a lane must go on to be changed to.
        preview: metres ahead whose greatest logged speed is the one wanted: where the log waited, it need not.
        routes: whether vehicles whose logs show no way drive along the lanes, in worlds that have them.
        pace: speed wanted on routes where no limit is known, m/s.
        turning: acceleration sideways in the bends of routes, m/s².
        seed: of the choices at forks.
    """

    headway: float = 1.5
    gap: float = 2.0
    accelerate: float = 1.5
    brake: float = 2.0
    hardest: float = 8.0
    margin: float = 0.2
    reach: float = 80.0
    changes: bool = False
    politeness: float = 0.2
    threshold: float = 0.2
    safe: float = 2.0
    sideways: float = 1.0
    lane_ahead: float = 30.0
    preview: float = 15.0
    routes: bool = True
    pace: float = 10.0
    turning: float = 2.5
    seed: int = 0


def idm(speed, wanted, gap, closing, driver: Driver) -> Float[Array, "*b"]:
    """Acceleration of vehicles that follow others, m/s², within [-hardest, accelerate].

    Args:
        speed: metres a second.
        wanted: speed on a free road, metres a second.
        gap: from bumper to bumper, metres; infinite on a free road.
        closing: own speed less the leader's, metres a second.
    """
    ratio = speed / jnp.maximum(wanted, 0.1)
    reaction = speed * closing / (2.0 * (driver.accelerate * driver.brake) ** 0.5)
    room = driver.gap + jnp.maximum(0.0, speed * driver.headway + reaction)
    near = room / jnp.maximum(gap, 0.1)
    return jnp.maximum(driver.accelerate * (1.0 - ratio**4 - near * near), -driver.hardest)


@dataclasses.dataclass(frozen=True)
class View:
    """What vehicles on their own look at: everybody and the lights of a world at one moment."""

    worlds: Worlds
    world: Int[Array, ""]
    time: Int[Array, ""]
    scene: Scene
    driver: Driver

    def blocked(self, x, y, z, c, s) -> Bool[Array, " slot"]:
        """Whether somebody else is nearer than the standing gap to vehicles put to these places."""
        worlds, world, scene, driver = self.worlds, self.world, self.scene, self.driver
        length, width, height = worlds.length[world], worlds.width[world], worlds.height[world]
        dx, dy = scene.x - x[:, None], scene.y - y[:, None]
        along, across = dx * c[:, None] + dy * s[:, None], dy * c[:, None] - dx * s[:, None]
        near = jnp.abs(along) < (length + length[:, None]) / 2 + driver.gap
        near &= jnp.abs(across) < (width + width[:, None]) / 2 + driver.margin
        near &= same_level(z[:, None], height[:, None], scene.z, height)
        return jnp.any(near & scene.present & ~jnp.eye(worlds.num_slots, dtype=bool), axis=1)

    def least(
        self,
        path: Float[Array, "path time vehicle"],
        station: Float[Array, " vehicle"],
        speed: Float[Array, " vehicle"],
        wanted: Float[Array, " vehicle"],
        slot: Int[Array, " vehicle"],
        corridors: tuple[Float[Array, " vehicle"], ...],
    ) -> Float[Array, " vehicle"]:
        """The acceleration that IDM asks vehicles for: the least over all that is in the way, m/s².

        Args:
            slot: of each vehicle.
            corridors: metres to the left of their paths, where they are and where they go to.
        """
        worlds, world, scene, driver = self.worlds, self.world, self.scene, self.driver
        length, width, height = worlds.length[world], worlds.width[world], worlds.height[world]
        own_length, own_width = length[slot][:, None], width[slot][:, None]
        ahead = PIECE * (jnp.arange(round(driver.reach / PIECE)) + 0.5)
        x, y, z, c, s, *_ = (v[..., None] for v in at_station(path, station + ahead[:, None]))
        ahead, speed, wanted = ahead[:, None, None], speed[:, None], wanted[:, None]

        def follow(along, reach, other_speed):
            gap = ahead + along - reach - own_length / 2
            return idm(speed, wanted, gap, speed - other_speed, driver)

        def near(across, room):
            return jnp.any(jnp.stack([jnp.abs(across - at[:, None]) < room for at in corridors]), axis=0)

        # [piece, vehicle, other]: everybody in the frame of each piece of each vehicle's path.
        dx, dy = scene.x - x, scene.y - y
        along, across = dx * c + dy * s, dy * c - dx * s
        cos, sin = scene.c * c + scene.s * s, scene.s * c - scene.c * s
        reach = 0.5 * (length * jnp.abs(cos) + width * jnp.abs(sin))
        room = 0.5 * (length * jnp.abs(sin) + width * jnp.abs(cos)) + own_width / 2 + driver.margin
        in_way = scene.present & (slot[:, None] != jnp.arange(worlds.num_slots)) & (along + ahead > 0)
        in_way &= near(across, room) & (jnp.abs(along) < PIECE / 2 + reach)
        in_way &= same_level(z, height[slot][:, None], scene.z, height)
        found = jnp.where(in_way, follow(along, reach, scene.speed * cos), jnp.inf)
        a = jnp.minimum(idm(speed[:, 0], wanted[:, 0], jnp.inf, 0.0, driver), jnp.min(found, axis=(0, 2)))
        if not worlds.stop.shape[2]:
            return a
        stop = dict(zip(STOP, worlds.stop[world], strict=True))
        red = worlds.red[world, jnp.minimum(self.time, worlds.red.shape[1] - 1)]
        dx, dy = stop["x"] - x, stop["y"] - y
        along, across = dx * c + dy * s, dy * c - dx * s
        in_way = red & (stop["ux"] * c + stop["uy"] * s > 0.5) & near(across, stop["half_width"])
        # Whose front is past the line drives on.
        in_way &= (jnp.abs(along) <= PIECE / 2) & (along + ahead > own_length / 2)
        return jnp.minimum(a, jnp.min(jnp.where(in_way, follow(along, 0.0, 0.0), jnp.inf), axis=(0, 2)))

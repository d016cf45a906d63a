"""Vehicles that drive by themselves: along their logged paths, following by IDM, changing lanes by MOBIL.

A vehicle's path is where its log went; how far it has got along it and how fast it is are its own. It wants to drive as
fast as its log did a little farther on. Whose log shows no way takes one through the lanes, where the worlds have them
(`routes`), and wants to drive as fast as is allowed. Each follows whatever is in its way: driven vehicles, other
vehicles on their own, whatever replays its log, red lights. It enters when its log begins, if there is room; where its
log or its route ends it leaves, or stands if its log ended standing. Motions are differentiable in everybody's, but
where another becomes the one to follow, where a speed reaches 0, and in decisions to enter or to change lanes.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mairl.core.arrays import on_device
from mairl.driving.idm import Driver, View
from mairl.driving.mobil import changed, lane_offset
from mairl.driving.paths import PATH, at_station, lanes_beside_routes, paths_of
from mairl.driving.prepare import LOG
from mairl.driving.routes import ROUTE, routes_of
from mairl.driving.surroundings import Scene, logged
from mairl.driving.world import Worlds
from mairl.scenarios.schema import AgentType

STANDING = 1.0
"""Metres a second: logs that end slower than this end standing."""


class Riders(eqx.Module):
    """Vehicles on their own in one world at one moment.

    Attributes:
        station: metres from the begin of each one's path.
        speed: metres a second.
        entered: is there, or has been; whoever would enter into somebody waits until there is room.
        gone: has left at the end of its path.
        lane: 0: its path; 1, 2: the lane to the left, to the right of it.
        aside: metres to the left of its path.
        scene: everybody but the driven vehicles, those on their own where they have got to.
    """

    station: Float[Array, " slot"]
    speed: Float[Array, " slot"]
    entered: Bool[Array, " slot"]
    gone: Bool[Array, " slot"]
    lane: Int[Array, " slot"]
    aside: Float[Array, " slot"]
    scene: Scene


class Autopilot(eqx.Module):
    """Drives the vehicles that nobody else does and whose logs move.

    Attributes:
        path: `PATH` of each slot at each step, straight on through gaps of the log.
        rides: who drives on its own.
        entry_station: metres from the begin of each one's path at the worlds' start.
        first, last: the steps at which each is first and last seen.
        entry: speed at which each is first seen, m/s.
        routed: who takes a way through the lanes.
        stranded: whose log shows no way, and who stands on no lane: it replays its log.
        driver: how.
    """

    path: Float[Array, "world path time slot"]
    rides: Bool[Array, "world slot"]
    entry_station: Float[Array, "world slot"]
    first: Int[Array, "world slot"]
    last: Int[Array, "world slot"]
    entry: Float[Array, "world slot"]
    routed: Bool[Array, "world slot"]
    stranded: Bool[Array, "world slot"]
    driver: Driver = eqx.field(static=True)

    def begin(self, worlds: Worlds, world: Int[Array, ""]) -> Riders:
        """Everybody as logged at a world's start."""
        time, slots = worlds.start[world], worlds.num_slots
        scene = logged(worlds, world, time)
        station = self.entry_station[world]
        entered = self.first[world] <= time
        speed = jnp.where(entered, jnp.maximum(scene.speed, 0.0), self.entry[world])
        no = jnp.zeros(slots, jnp.int32)
        return Riders(station, speed, entered, self.last[world] < time, no, jnp.zeros(slots), scene)

    def drive(
        self, worlds: Worlds, world: Int[Array, ""], time: Int[Array, ""], riders: Riders, scene: Scene
    ) -> Riders:
        """One step on.

        Args:
            time: the step of the log before it.
            scene: everybody at that moment, the driven vehicles where they have got to.
        """
        path, log, driver = self.path[world], logged(worlds, world, time + 1), self.driver
        here: dict[str, Array] = dict(zip(PATH, at_station(path, riders.station[None])[:, 0], strict=True))
        view = View(worlds, world, time, scene, driver)
        lane = riders.lane
        if driver.changes:
            lane = changed(view, path, here, riders.station, lane, riders.aside, self.rides[world])
        to = lane_offset(here, lane)
        # Where the lane beside ends, back to the path.
        lane = jnp.where(to == 0.0, 0, lane)
        a = view.least(path, riders.station, riders.speed, here["wanted"], jnp.arange(len(lane)), (riders.aside, to))
        speed = jnp.maximum(riders.speed + a * worlds.dt, 0.0)
        station = riders.station + 0.5 * (riders.speed + speed) * worlds.dt
        most = driver.sideways * jnp.minimum(speed / 3.0, 1.0) * worlds.dt
        step = jnp.clip(to - riders.aside, -most, most)
        end = path[PATH.index("station"), -1]
        over = station >= end
        station, speed = jnp.minimum(station, end), jnp.where(over, 0.0, speed)
        moves = riders.entered
        station, speed = jnp.where(moves, station, riders.station), jnp.where(moves, speed, riders.speed)
        # Nobody enters who would have to brake hard at once.
        room = (a > -driver.hardest / 2) & ~view.blocked(here["x"], here["y"], here["z"], here["cos"], here["sin"])
        entered = moves | (room & (time + 1 >= self.first[world]))
        gone = riders.gone | (over & moves & (path[PATH.index("wanted"), -1] > STANDING))
        x, y, z, c, s, *_ = at_station(path, station[None])[:, 0]
        aside = riders.aside + jnp.where(moves, step, 0.0)
        slant = step / jnp.maximum(speed * worlds.dt, 0.1)
        norm = jax.lax.rsqrt(1.0 + slant * slant)
        heading = (c - s * slant) * norm, (s + c * slant) * norm
        own = Scene(x - s * aside, y + c * aside, z, *heading, speed, entered & ~gone)
        shown = jax.tree.map(lambda a, b: jnp.where(self.rides[world], a, b), own, log)
        return Riders(station, speed, entered, gone, lane, aside, shown)


def autopilot(worlds: Worlds, driver: Driver = Driver(), travel: float = 2.0) -> Autopilot:
    """For all vehicles of these worlds that are not driven, and whose logs go farther than `travel` metres, or show no
    way at all while there are lanes to drive on (`routes_of`); whatever else moves, or stands, replays its log. On the
    host."""
    path = paths_of(worlds, driver.preview)
    begin = np.take_along_axis(path[:, PATH.index("station")], np.asarray(worlds.start)[:, None, None], axis=1)[:, 0]
    routes = routes_of(worlds, driver, travel)
    if routes.taken.any():
        beside = np.asarray(lanes_beside_routes(worlds, *map(on_device, (routes.path, routes.taken))))
        ways = np.concatenate([routes.path, beside], axis=1)
        assert PATH[: len(ROUTE)] == ROUTE
        path = np.where(routes.taken[:, None, None], ways, path)
        begin = np.where(routes.taken, 0.0, begin)
    log = dict(zip(LOG, np.moveaxis(np.asarray(worlds.log), 2, 0), strict=True))
    valid = log["valid"] > 0
    driven = np.zeros((len(worlds), worlds.num_slots), bool)
    driven[:, : worlds.num_agents] = np.asarray(worlds.driven)
    vehicle = np.asarray(worlds.kind) == AgentType.VEHICLE
    rides = vehicle & ~driven & (path[:, PATH.index("station"), -1] > travel)
    first, last = valid.argmax(axis=1), valid.shape[1] - 1 - valid[:, ::-1].argmax(axis=1)
    # A route begins where its vehicle is first seen after the start, and does not end with the log.
    late = valid & (np.arange(valid.shape[1])[:, None] >= np.asarray(worlds.start)[:, None, None])
    first, last = np.where(routes.taken, late.argmax(axis=1), first), np.where(routes.taken, valid.shape[1] - 1, last)
    speed = np.maximum(log["vx"] * log["cos"] + log["vy"] * log["sin"], 0.0)
    entry = np.take_along_axis(speed, first[:, None], axis=1)[:, 0]
    first, last = (on_device(step, jnp.int32) for step in (first, last))
    flags = on_device(routes.taken), on_device(routes.stranded)
    rides, begin = on_device(rides | routes.taken), on_device(begin, jnp.float32)
    return Autopilot(on_device(path), rides, begin, first, last, on_device(entry), *flags, driver)

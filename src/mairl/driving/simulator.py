"""One step of driving: vehicles move, then what happened to them is found out. Pure functions of one world's state.

A vehicle leaves the road, stops or goes on, as `Rules` say, when it reaches its goal or commits an infraction. What
replays its log never reacts; vehicles on an `Autopilot` do. Positions are differentiable in the actions of continuous
dynamics; what happened is not: it is a matter of yes or no.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mairl.driving.autopilot import Autopilot, Riders
from mairl.driving.dynamics import Dynamics, Motion, motion, wrap
from mairl.driving.infractions import collided, off_road, ran_red, wrong_way
from mairl.driving.lanes_around import OnLane, on_lane
from mairl.driving.prepare import GOAL, LOG
from mairl.driving.surroundings import Around, Scene, logged, partners, road
from mairl.driving.world import Worlds
from mairl.ops.staged import staged

Outcome = Literal["remove", "stop", "ignore"]


@dataclasses.dataclass(frozen=True)
class Rules:
    """What counts, and what follows.

    Attributes:
        goal_radius: a goal is reached within it, metres.
        goal_heading: and with the logged final heading within so many radians; π: any.
        goal_speed: and within so many m/s of the logged final speed; infinite: any.
        at_goal, at_collision, at_off_road, at_red_light, at_wrong_way, at_off_pace: the vehicle is taken off the road,
            stands where it is for good, or goes on.
        red_lights, wrong_way, off_pace: whether these infractions are looked for; the last one needs worlds with lanes.
        pace: whose speed differs by so much from the limit is off pace, m/s.
        box_scale: of the boxes' lengths and widths in collisions and off the road; 1: full size.
    """

    goal_radius: float = 2.0
    goal_heading: float = 3.1416
    goal_speed: float = float("inf")
    at_goal: Outcome = "remove"
    at_collision: Outcome = "remove"
    at_off_road: Outcome = "remove"
    at_red_light: Outcome = "ignore"
    at_wrong_way: Outcome = "ignore"
    at_off_pace: Outcome = "ignore"
    red_lights: bool = True
    wrong_way: bool = False
    off_pace: bool = False
    pace: float = 30.0
    box_scale: float = 1.0


EVENTS = ("goal", "collision", "off_road", "red_light", "wrong_way", "off_pace")


class State(eqx.Module):
    """A world at one moment; what replays its log is read from the log.

    Attributes:
        world: which one.
        time: step of the log.
        motion: of the driven vehicles; those taken off the road stay where they were.
        ground: height of the road under them, metres.
        rise: how much higher the road edge nearest to them is: the ground of the next step follows it.
        away: taken off the road.
        parked: standing for good.
        reached: has been at its goal.
        past: everybody's earlier `PAST` values, the latest first, in the scenario's frame; None: not kept.
        riders: those on their own; None: everybody who is not driven replays the log.
    """

    world: Int[Array, ""]
    time: Int[Array, ""]
    motion: Motion
    ground: Float[Array, " agent"]
    rise: Float[Array, " agent"]
    away: Bool[Array, " agent"]
    parked: Bool[Array, " agent"]
    reached: Bool[Array, " agent"]
    past: Float[Array, "history past slot"] | None
    riders: Riders | None = None

    @property
    def active(self) -> Bool[Array, " agent"]:
        """Neither away nor parked; true for places without a driven vehicle as well."""
        return ~self.away & ~self.parked


PAST = ("x", "y", "cos", "sin", "speed", "present")


class Events(eqx.Module):
    """What happened to each agent in a step.

    Attributes:
        goal, collision, off_road, red_light, wrong_way, off_pace: as named; `goal` once.
        edge_distance: signed distance of the middle to the nearest road edge, metres; infinite without one.
        lane: the lane that it is on; None: the worlds have no lanes.
    """

    goal: Bool[Array, " agent"]
    collision: Bool[Array, " agent"]
    off_road: Bool[Array, " agent"]
    red_light: Bool[Array, " agent"]
    wrong_way: Bool[Array, " agent"]
    off_pace: Bool[Array, " agent"]
    edge_distance: Float[Array, " agent"]
    lane: OnLane | None


def start(worlds: Worlds, world: Int[Array, ""], history: int = 0, autopilot: Autopilot | None = None) -> State:
    """The state at a world's start, everybody as logged."""
    time = worlds.start[world]
    n = worlds.num_agents
    row = worlds.log[world, time, :, :n]
    x, y, z, heading, vx, vy = (row[LOG.index(name)] for name in ("x", "y", "z", "heading", "vx", "vy"))
    no = jnp.zeros(n, bool)
    past = [_past(logged(worlds, world, jnp.maximum(time - k, 0)), time >= k) for k in range(1, history + 1)]
    return State(
        world,
        time,
        motion(x, y, heading, vx, vy),
        z - worlds.height[world, :n] / 2,
        jnp.zeros(n),
        no,
        no,
        no,
        jnp.stack(past) if past else None,
        None if autopilot is None else autopilot.begin(worlds, world),
    )


def scene_of(worlds: Worlds, state: State) -> Scene:
    """Everybody: driven vehicles and those on their own where they have got to, the others as logged at this moment."""
    log = logged(worlds, state.world, state.time) if state.riders is None else state.riders.scene
    own = state.motion
    n = worlds.num_agents
    driven = worlds.driven[state.world]
    z = state.ground + worlds.height[state.world, :n] / 2
    drive = Scene(own.x, own.y, z, jnp.cos(own.heading), jnp.sin(own.heading), own.speed, ~state.away)
    return jax.tree.map(lambda a, b: jnp.concatenate([jnp.where(driven, a, b[:n]), b[n:]]), drive, log)


def advance(
    worlds: Worlds,
    dynamics: Dynamics,
    rules: Rules,
    state: State,
    action: Float[Array, "agent size"],
    autopilot: Autopilot | None = None,
) -> tuple[State, Events, Around]:
    """One step of `worlds.dt`: driven vehicles follow their actions, everybody else the log or the autopilot.

    Args:
        action: continuous, within the dynamics' bounds; read for driven vehicles that are active only.

    Returns:
        The next state, what happened, and what was around the vehicles before any of them was taken off the road.
    """
    w, n = state.world, worlds.num_agents
    length, _width, _height = worlds.length[w], worlds.width[w], worlds.height[w]
    own = length[:n]
    moved = dynamics.step(state.motion, action, jnp.where(own > 0, own, 1.0), worlds.dt)
    halted = motion(state.motion.x, state.motion.y, state.motion.heading, *jnp.zeros((2, n)))
    active = state.active
    now = jax.tree.map(lambda a, b: jnp.where(active, a, b), moved, halted)
    past = state.past
    if past is not None:
        past = jnp.concatenate([_past(scene_of(worlds, state), jnp.array(True))[None], past[:-1]])
    ground = state.ground + state.rise
    riders = None
    if autopilot is not None and state.riders is not None:
        riders = autopilot.drive(worlds, w, state.time, state.riders, scene_of(worlds, state))
    went = State(w, state.time + 1, now, ground, state.rise, state.away, state.parked, state.reached, past, riders)
    near = around(worlds, went)
    events, rise = happened(worlds, rules, state, went, near)
    outcomes = (
        (events.goal, rules.at_goal),
        (events.collision, rules.at_collision),
        (events.off_road, rules.at_off_road),
        (events.red_light, rules.at_red_light),
        (events.wrong_way, rules.at_wrong_way),
        (events.off_pace, rules.at_off_pace),
    )
    away, parked = state.away, state.parked
    for event, outcome in outcomes:
        away = away | event if outcome == "remove" else away
        parked = parked | event if outcome == "stop" else parked
    after = State(w, went.time, now, ground, rise, away, parked, state.reached | events.goal, past, riders)
    return after, events, near


def around(worlds: Worlds, state: State) -> Around:
    """What is around each driven vehicle: once a step, for what happens and for what is seen."""
    w, n = state.world, worlds.num_agents

    def where(state: State) -> tuple[Scene, Int[Array, " agent"]]:
        return scene_of(worlds, state), worlds.grid.rows_at(state.motion.x, state.motion.y, w)

    scene, rows = staged(worlds.start[0] >= 0, where, state)
    others = partners(scene, worlds.length[w], worlds.width[w], worlds.height[w], n)
    return Around(scene, others, rows, road(worlds.grid.edges, rows, scene.of(n), state.ground, again=True))


def happened(
    worlds: Worlds, rules: Rules, before: State, after: State, near: Around | None = None
) -> tuple[Events, Float[Array, " agent"]]:
    """What the last step brought, and how much higher than its ground the road edge nearest to each agent is.

    Args:
        near: what is `around` after the step, where it is known already.
    """
    w, n = after.world, worlds.num_agents
    length, width = worlds.length[w], worlds.width[w]
    concerned = worlds.driven[w] & after.active
    near = around(worlds, after) if near is None else near
    box = length[:n] * rules.box_scale, width[:n] * rules.box_scale
    hit = collided(near.partners, *box)
    now = after.motion
    off, edge_distance, rise = off_road(*near.edges, *box)
    off = (off | (near.rows == 0)) & worlds.has_edges[w]
    none = jnp.zeros(n, bool)
    red = none
    if rules.red_lights and worlds.stop.shape[2]:
        lit = worlds.red[w, jnp.minimum(after.time, worlds.red.shape[1] - 1)]
        red = ran_red(before.motion, now, length[:n], worlds.stop[w], lit)
    wrong = none
    if rules.wrong_way:
        wrong = wrong_way(*road(worlds.grid.others, near.rows, near.scene.of(n), after.ground), now.speed)
    lane = None if worlds.lanes is None else on_lane(worlds.lanes, near.rows, near.scene.of(n), after.ground)
    astray = none
    if rules.off_pace and lane is not None:
        astray = lane.on & lane.limit_known & (jnp.abs(now.speed - lane.limit) >= rules.pace)
    goal = at_goal(worlds, rules, after) & ~after.reached
    goal, hit, off, red, wrong, astray = (part & concerned for part in (goal, hit, off, red, wrong, astray))
    return Events(goal, hit, off, red, wrong, astray, edge_distance, lane), rise


def recalled(worlds: Worlds, rules: Rules, before: State, after: State) -> Events:
    """The events of the step from one state to the next, as `advance` returned them."""
    went = State(
        after.world,
        after.time,
        after.motion,
        after.ground,
        before.rise,
        before.away,
        before.parked,
        before.reached,
        after.past,
    )
    return happened(worlds, rules, before, went)[0]


def at_goal(worlds: Worlds, rules: Rules, state: State) -> Bool[Array, " agent"]:
    """Who is where its log ended, as `rules` ask."""
    goal = dict(zip(GOAL, worlds.goal[state.world], strict=True))
    now = state.motion
    there = (now.x - goal["x"]) ** 2 + (now.y - goal["y"]) ** 2 < rules.goal_radius**2
    if rules.goal_heading < 3.14159:
        there &= jnp.abs(wrap(now.heading - goal["heading"])) <= rules.goal_heading
    if rules.goal_speed < float("inf"):
        there &= jnp.abs(now.speed - goal["speed"]) <= rules.goal_speed
    return there


def _past(scene: Scene, known: Bool[Array, ""]) -> Float[Array, "past slot"]:
    there = scene.present & known
    return jnp.stack([scene.x, scene.y, scene.c, scene.s, scene.speed, there.astype(jnp.float32)])

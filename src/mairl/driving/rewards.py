"""What a step of driving is worth: a feature vector, and weights on it."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from mairl.core.errors import InvalidGame
from mairl.driving.prepare import GOAL
from mairl.driving.simulator import Events, State
from mairl.driving.world import Worlds

FEATURES = (
    "goal",
    "collision",
    "off_road",
    "red_light",
    "wrong_way",
    "progress",
    "speed",
    "acceleration",
    "turning",
    "edge",
    "time",
)
"""Of a step: 1 where the goal was reached, where each infraction was committed; metres by which the goal came nearer;
speed after the step / 10 m/s; squares of the acceleration (/ 3 m/s²) and of the acceleration sideways (/ 3 m/s²); how
far the middle is nearer than 2 m to a road edge (/ 2 m); 1."""


LANE_FEATURES = ("pace", "lane_offset", "lane_heading")
"""Of a step in worlds with lanes, on the lane that the vehicle is on after it, 0 off lanes: 1 less the difference
between its speed and the speed limit / 30 m/s (Zhang et al. 2023, Eq. 21; 0 where no limit is known); the square of its
distance from the centreline (/ 2 m); 1 less the cosine of its angle to the lane."""

PACE = 30.0
"""C of Eq. 21; the paper gives no unit, we take metres a second."""


def feature_names(worlds: Worlds) -> tuple[str, ...]:
    """`FEATURES`, and `LANE_FEATURES` in worlds with lanes."""
    return FEATURES if worlds.lanes is None else FEATURES + LANE_FEATURES


@dataclasses.dataclass(frozen=True)
class RewardWeights:
    """What each of `FEATURES` and `LANE_FEATURES` is worth to every vehicle; a linear reward."""

    goal: float = 0.0
    collision: float = 0.0
    off_road: float = 0.0
    red_light: float = 0.0
    wrong_way: float = 0.0
    progress: float = 0.0
    speed: float = 0.0
    acceleration: float = 0.0
    turning: float = 0.0
    edge: float = 0.0
    time: float = 0.0
    pace: float = 0.0
    lane_offset: float = 0.0
    lane_heading: float = 0.0


REWARDS = {
    "sparse": RewardWeights(goal=1.0, collision=-1.0, off_road=-1.0),
    "gpudrive": RewardWeights(goal=1.0, collision=-0.75, off_road=-0.75),
    "rtr": RewardWeights(collision=-1.0, off_road=-1.0),
    "rtr-shaped": RewardWeights(collision=-1.0, off_road=-1.0, pace=0.5),
    "shaped": RewardWeights(goal=1.0, collision=-1.0, off_road=-1.0, progress=0.02),
    "careful": RewardWeights(goal=1.0, collision=-2.0, off_road=-2.0, progress=0.002),
}
"""`gpudrive`: as in GPUDrive (Kazemkhani et al. 2024). `rtr`: infractions only (Zhang et al. 2023, Eq. 20).
`rtr-shaped`: and driving at the speed limit (Eq. 21, which goes with `Rules(off_pace=True)`). `shaped`: the sparse one
and the way to the goal, which over hundreds of metres is worth more than all infractions cost: who has learned to drive
already drives too fast for it. `careful`: it is worth less than they cost."""


def weights_of(reward: str | RewardWeights) -> RewardWeights:
    """A named reward, or the weights themselves."""
    if isinstance(reward, RewardWeights):
        return reward
    if reward not in REWARDS:
        raise InvalidGame(f"there is no reward {reward!r}; there are {', '.join(REWARDS)}, or RewardWeights")
    return REWARDS[reward]


def features(worlds: Worlds, before: State, after: State, events: Events) -> Float[Array, "agent feature"]:
    """`feature_names` of a step; zeros of agents that took no part."""
    values = jnp.stack(_features(worlds, before, after, events), axis=1)
    return jnp.where((worlds.driven[before.world] & before.active)[:, None], values, 0.0)


def rewards(
    worlds: Worlds, weights: RewardWeights, before: State, after: State, events: Events
) -> Float[Array, " agent"]:
    """What a step is worth: `features` times weights, without those whose weight is 0."""
    values = zip(feature_names(worlds), _features(worlds, before, after, events), strict=True)
    total = sum((getattr(weights, name) * value for name, value in values if getattr(weights, name)), jnp.zeros(()))
    return jnp.where(worlds.driven[before.world] & before.active, total, 0.0)


def _features(worlds: Worlds, before: State, after: State, events: Events) -> list[Float[Array, " agent"]]:
    goal = worlds.goal[before.world]
    x, y = goal[GOAL.index("x")], goal[GOAL.index("y")]

    def far(state: State) -> Array:
        square = (state.motion.x - x) ** 2 + (state.motion.y - y) ** 2
        return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)

    now = after.motion
    columns = [
        events.goal,
        events.collision,
        events.off_road,
        events.red_light,
        events.wrong_way,
        far(before) - far(after),
        now.speed / 10.0,
        (now.acceleration / 3.0) ** 2,
        (now.curvature * now.speed**2 / 3.0) ** 2,
        jnp.clip(1.0 - events.edge_distance / 2.0, 0.0, 1.0),
        jnp.ones_like(now.x),
    ]
    if events.lane is not None:
        lane = events.lane
        pace = 1.0 - jnp.abs(now.speed - lane.limit) / PACE
        columns += [
            jnp.where(lane.on & lane.limit_known, pace, 0.0),
            jnp.where(lane.on, (lane.offset / 2.0) ** 2, 0.0),
            jnp.where(lane.on, 1.0 - lane.cos, 0.0),
        ]
    return [c.astype(jnp.float32) for c in columns]

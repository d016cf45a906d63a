"""How vehicles move: from a motion and an action to the next motion, and back.

Everything is elementwise: leaves may have any common shape. Positions are those of the middle of the box, metres in the
scenario's frame; angles are radians, counter-clockwise. A model is a value with `step` and `inverse`; both are
differentiable except where an action or a speed is clipped.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Protocol

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

STANDSTILL = 0.05
"""Metres: a step shorter than this tells nothing about steering; `inverse` then steers straight ahead."""


class Motion(eqx.Module):
    """How something moves right now.

    Attributes:
        x, y: the middle of the box.
        heading: where it points, not necessarily where it goes.
        vx, vy: velocity, metres a second.
        acceleration, curvature: along the path (m/s²) and of the path (1/m, left positive) during the last step; of
            the models only `Jerk` reads them.
    """

    x: Float[Array, "*b"]
    y: Float[Array, "*b"]
    heading: Float[Array, "*b"]
    vx: Float[Array, "*b"]
    vy: Float[Array, "*b"]
    acceleration: Float[Array, "*b"]
    curvature: Float[Array, "*b"]

    @property
    def speed(self) -> Float[Array, "*b"]:
        """Along the heading, negative in reverse."""
        return self.vx * jnp.cos(self.heading) + self.vy * jnp.sin(self.heading)


def motion(x, y, heading, vx, vy) -> Motion:
    """A motion with nothing known about the last step: neither speeding up nor turning."""
    zero = jnp.zeros_like(x)
    return Motion(x, y, heading, vx, vy, zero, zero)


def wrap(angle: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """The same angle in [-π, π)."""
    return (angle + jnp.pi) % (2 * jnp.pi) - jnp.pi


class Dynamics(Protocol):
    """A model of motion. Actions are `[*b, size]` within `low` and `high`, which `step` enforces."""

    @property
    def low(self) -> tuple[float, ...]:
        """The least action."""
        ...

    @property
    def high(self) -> tuple[float, ...]:
        """The greatest action."""
        ...

    def step(self, before: Motion, action: Float[Array, "*b size"], length: Float[Array, "*b"], dt: float) -> Motion:
        """The motion `dt` seconds later, of vehicles this long (metres)."""
        ...

    def inverse(self, before: Motion, after: Motion, length: Float[Array, "*b"], dt: float) -> Float[Array, "*b size"]:
        """The action within bounds that leads from one motion to the other, or as near as the model can."""
        ...


def _clipped(model: Dynamics, action):
    return jnp.clip(action, jnp.asarray(model.low, action.dtype), jnp.asarray(model.high, action.dtype))


def _over(numerator, denominator, least):
    """A quotient that is 0 where its denominator is too small to tell."""
    fine = jnp.abs(denominator) > least
    return jnp.where(fine, numerator / jnp.where(fine, denominator, 1.0), 0.0)


@dataclasses.dataclass(frozen=True)
class Bicycle:
    """The kinematic bicycle on the rear axle (Zhang et al. 2023, RTR, Eqs. 32-38), by explicit Euler steps:

        x' = x + v cos θ dt,  y' = y + v sin θ dt,  θ' = θ + (v / L) tan φ dt,  v' = v + u dt

    with (x, y) the middle of the rear axle, u the acceleration and φ the steering angle. The axles lie as far before as
    behind the middle of the box.

    Attributes:
        wheelbase: L as a share of the vehicle's length.
        max_acceleration: |u| at most, m/s².
        max_steering: |φ| at most, radians.
    """

    wheelbase: float = 0.6
    max_acceleration: float = 6.0
    max_steering: float = 0.7

    @property
    def low(self) -> tuple[float, ...]:
        """See `Dynamics`."""
        return (-self.max_acceleration, -self.max_steering)

    @property
    def high(self) -> tuple[float, ...]:
        """See `Dynamics`."""
        return (self.max_acceleration, self.max_steering)

    def step(self, before: Motion, action, length, dt: float) -> Motion:
        """See `Dynamics`."""
        u, phi = jnp.moveaxis(_clipped(self, action), -1, 0)
        base, v = self.wheelbase * length, before.speed
        c, s = jnp.cos(before.heading), jnp.sin(before.heading)
        rear_x = before.x - 0.5 * base * c + v * c * dt
        rear_y = before.y - 0.5 * base * s + v * s * dt
        curvature = jnp.tan(phi) / base
        heading = before.heading + v * curvature * dt
        speed = v + u * dt
        c, s = jnp.cos(heading), jnp.sin(heading)
        x, y = rear_x + 0.5 * base * c, rear_y + 0.5 * base * s
        return Motion(x, y, wrap(heading), speed * c, speed * s, u, curvature)

    def inverse(self, before: Motion, after: Motion, length, dt: float):
        """See `Dynamics`. From speeds and headings, which is exact for motions of this model."""
        turn = wrap(after.heading - before.heading)
        u = (after.speed - before.speed) / dt
        phi = jnp.arctan(_over(self.wheelbase * length * turn, before.speed * dt, STANDSTILL))
        return _clipped(self, jnp.stack([u, phi], -1))


@dataclasses.dataclass(frozen=True)
class InvertibleBicycle:
    """A bicycle whose actions, acceleration a and curvature κ of the path, follow from any two motions (the model that
    simulators of logs use):

        d = v dt + a dt² / 2,  x' = x + d cos θ,  y' = y + d sin θ,  θ' = θ + κ d,  v' = v + a dt

    Attributes:
        max_acceleration: |a| at most, m/s².
        max_curvature: |κ| at most, 1/m.
    """

    max_acceleration: float = 6.0
    max_curvature: float = 0.3

    @property
    def low(self) -> tuple[float, ...]:
        """See `Dynamics`."""
        return (-self.max_acceleration, -self.max_curvature)

    @property
    def high(self) -> tuple[float, ...]:
        """See `Dynamics`."""
        return (self.max_acceleration, self.max_curvature)

    def step(self, before: Motion, action, length, dt: float) -> Motion:
        """See `Dynamics`."""
        a, kappa = jnp.moveaxis(_clipped(self, action), -1, 0)
        v = before.speed
        d = v * dt + 0.5 * a * dt**2
        x = before.x + d * jnp.cos(before.heading)
        y = before.y + d * jnp.sin(before.heading)
        heading = before.heading + kappa * d
        speed = v + a * dt
        return Motion(x, y, wrap(heading), speed * jnp.cos(heading), speed * jnp.sin(heading), a, kappa)

    def inverse(self, before: Motion, after: Motion, length, dt: float):
        """See `Dynamics`."""
        a = (after.speed - before.speed) / dt
        d = before.speed * dt + 0.5 * a * dt**2
        kappa = _over(wrap(after.heading - before.heading), d, STANDSTILL)
        return _clipped(self, jnp.stack([a, kappa], -1))


@dataclasses.dataclass(frozen=True)
class DeltaLocal:
    """Displacement and turn in the vehicle's own frame, per second: nothing is impossible but too far a jump. Its
    inverse is exact.

    Attributes:
        max_speed: ahead and back, m/s.
        max_aside: to either side, m/s.
        max_turn: radians a second; by default all the way round in a step of 0.1 s.
    """

    max_speed: float = 60.0
    max_aside: float = 60.0
    max_turn: float = 31.416

    @property
    def low(self) -> tuple[float, ...]:
        """See `Dynamics`."""
        return (-self.max_speed, -self.max_aside, -self.max_turn)

    @property
    def high(self) -> tuple[float, ...]:
        """See `Dynamics`."""
        return (self.max_speed, self.max_aside, self.max_turn)

    def step(self, before: Motion, action, length, dt: float) -> Motion:
        """See `Dynamics`."""
        ahead, left, turn = jnp.moveaxis(_clipped(self, action), -1, 0)
        c, s = jnp.cos(before.heading), jnp.sin(before.heading)
        vx, vy = c * ahead - s * left, s * ahead + c * left
        heading = wrap(before.heading + turn * dt)
        zero = jnp.zeros_like(vx)
        return Motion(before.x + vx * dt, before.y + vy * dt, heading, vx, vy, zero, zero)

    def inverse(self, before: Motion, after: Motion, length, dt: float):
        """See `Dynamics`."""
        dx, dy = after.x - before.x, after.y - before.y
        c, s = jnp.cos(before.heading), jnp.sin(before.heading)
        turn = wrap(after.heading - before.heading)
        return _clipped(self, jnp.stack([c * dx + s * dy, c * dy - s * dx, turn], -1) / dt)


@dataclasses.dataclass(frozen=True)
class Jerk:
    """Comfort decides: actions are the changes of acceleration along and across the path, in m/s³.

        a' = a + j_along dt,  c' = v² κ + j_across dt,  κ' = c' / max(v², 1)

    with the path followed at the mean of old and new speed, along the arc's chord.

    Attributes:
        max_along, max_across: jerks at most, m/s³.
        max_acceleration, max_across_acceleration: m/s².
        max_curvature: 1/m.
    """

    max_along: float = 15.0
    max_across: float = 8.0
    max_acceleration: float = 6.0
    max_across_acceleration: float = 5.0
    max_curvature: float = 0.3

    @property
    def low(self) -> tuple[float, ...]:
        """See `Dynamics`."""
        return (-self.max_along, -self.max_across)

    @property
    def high(self) -> tuple[float, ...]:
        """See `Dynamics`."""
        return (self.max_along, self.max_across)

    def step(self, before: Motion, action, length, dt: float) -> Motion:
        """See `Dynamics`."""
        along, across = jnp.moveaxis(_clipped(self, action), -1, 0)
        v = before.speed
        square = jnp.maximum(v**2, 1.0)
        a = jnp.clip(before.acceleration + along * dt, -self.max_acceleration, self.max_acceleration)
        sideways = jnp.clip(
            square * before.curvature + across * dt, -self.max_across_acceleration, self.max_across_acceleration
        )
        kappa = jnp.clip(sideways / square, -self.max_curvature, self.max_curvature)
        speed = v + a * dt
        d = 0.5 * (v + speed) * dt
        turn = kappa * d
        way = before.heading + 0.5 * turn
        heading = before.heading + turn
        return Motion(
            before.x + d * jnp.cos(way),
            before.y + d * jnp.sin(way),
            wrap(heading),
            speed * jnp.cos(heading),
            speed * jnp.sin(heading),
            a,
            kappa,
        )

    def inverse(self, before: Motion, after: Motion, length, dt: float):
        """See `Dynamics`."""
        v = before.speed
        square = jnp.maximum(v**2, 1.0)
        a = (after.speed - v) / dt
        kappa = _over(wrap(after.heading - before.heading), 0.5 * (v + after.speed) * dt, STANDSTILL)
        along, across = (a - before.acceleration) / dt, square * (kappa - before.curvature) / dt
        return _clipped(self, jnp.stack([along, across], -1))


@dataclasses.dataclass(frozen=True)
class Grid:
    """Discrete actions: every combination of some values of a model's actions.

    Attributes:
        model: the continuous one.
        bins: values for each component of its action, odd numbers so that 0 is among them.
        bend: how values are spread between the bounds: they are u^bend of evenly spread u, on both sides of 0. 1 is
            even; more gives finer steps around 0, which steering at speed needs.
    """

    model: Bicycle | InvertibleBicycle | DeltaLocal | Jerk
    bins: tuple[int, ...] = (7, 13)
    bend: tuple[float, ...] = (1.0, 2.5)

    @property
    def num_actions(self) -> int:
        """How many there are."""
        return math.prod(self.bins)

    def values(self) -> list[np.ndarray]:
        """Of each component, ascending."""
        found = []
        for low, high, bins, bend in zip(self.model.low, self.model.high, self.bins, self.bend, strict=True):
            u = np.linspace(-1.0, 1.0, bins)
            found.append((low + high) / 2 + (high - low) / 2 * np.sign(u) * np.abs(u) ** bend)
        return found

    def names(self) -> tuple[str, ...]:
        """Each index by its continuous action, such as "-4, +0.12", in the model's units."""
        return tuple(", ".join(f"{v:+.2g}" for v in each) for each in itertools.product(*self.values()))

    def continuous(self, action: Int[Array, "*b"]) -> Float[Array, "*b size"]:
        """The continuous action of each index; the last component varies fastest."""
        every = np.stack(np.meshgrid(*self.values(), indexing="ij"), -1).reshape(self.num_actions, -1)
        return jnp.asarray(every, jnp.float32)[action]

    def nearest(self, action: Float[Array, "*b size"]) -> Int[Array, "*b"]:
        """The index whose continuous action is nearest in every component."""
        parts = tuple(
            jnp.argmin(jnp.abs(action[..., k, None] - jnp.asarray(v, jnp.float32)), axis=-1)
            for k, v in enumerate(self.values())
        )
        return jnp.ravel_multi_index(parts, self.bins, mode="clip")

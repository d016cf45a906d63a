"""Drivers and vehicles: the intelligent driver model (IDM), lane changes by MOBIL, and how their parameters are drawn.

IDM: M. Treiber, A. Hennecke, D. Helbing, "Congested traffic states in empirical observations and microscopic
simulations", Phys. Rev. E 62 (2000), equations 1 to 3. MOBIL: A. Kesting, M. Treiber, D. Helbing, "General
lane-changing model MOBIL for car-following models", Transp. Res. Rec. 1999 (2007), equations 2 and 5.
"""

from __future__ import annotations

import itertools

import numpy as np

HARDEST = 8.0
"""Metres a second squared: nobody brakes harder."""

SAFE_BRAKE = 2.0
"""Deceleration that a lane change may cost the one behind, m/s²; `MUST_BRAKE` if the change is mandatory."""

MUST_BRAKE = 3.0

THRESHOLD = 0.2
"""Gain in acceleration, m/s², below which a lane change is not worth while."""

DRIVER = {
    "speed": (0.85, 1.1),
    "headway": (1.0, 1.8),
    "gap": (1.5, 2.5),
    "accelerate": (1.2, 2.0),
    "brake": (1.5, 2.5),
    "politeness": (0.1, 0.5),
    "change": (3.5, 5.0),
}
"""What a driver is drawn from, uniformly: desired speed as a share of the limit, time headway (s), standing gap (m),
acceleration and comfortable deceleration (m/s²), MOBIL's politeness, and duration of a lane change (s)."""

VEHICLE = {
    "car": (0.78, (3.9, 4.9), (1.7, 1.9), (1.4, 1.7), 1.0),
    "van": (0.13, (5.0, 6.0), (1.95, 2.05), (2.0, 2.6), 0.9),
    "truck": (0.09, (7.0, 12.0), (2.4, 2.5), (3.0, 3.8), 0.55),
}
"""Kinds of vehicles: share; length, width and height (m), uniform; factor on the driver's acceleration."""


def idm(speed, desired, gap, closing, driver) -> np.ndarray:
    """Acceleration of vehicles that follow others, m/s², within [-HARDEST, accelerate].

    Args:
        speed: metres a second.
        desired: speed on a free road, metres a second.
        gap: from bumper to bumper, metres; infinite on a free road.
        closing: own speed less the leader's, metres a second.
        driver: mapping with `headway`, `gap`, `accelerate` and `brake`.
    """
    a, b = driver["accelerate"], driver["brake"]
    ratio = speed / np.maximum(desired, 0.1)
    squared = ratio * ratio
    wanted = driver["gap"] + np.maximum(0.0, speed * driver["headway"] + speed * closing / (2.0 * np.sqrt(a * b)))
    near = wanted / np.maximum(gap, 0.1)
    return np.maximum(a * (1.0 - squared * squared - near * near), -HARDEST)


def equilibrium_gap(speed, desired, driver) -> np.ndarray:
    """The gap at which IDM neither accelerates nor brakes behind a leader of the same speed, metres."""
    ratio = speed / desired
    squared = ratio * ratio
    return (driver["gap"] + speed * driver["headway"]) / np.sqrt(1.0 - squared * squared)


def mobil(own: tuple, new_follower: tuple, old_follower: tuple, politeness: float, mandatory: bool = False) -> bool:
    """Whether to change lanes.

    Args:
        own, new_follower, old_follower: accelerations (without the change, with it), m/s²; (0, 0) where nobody is.
        politeness: weight of the others' loss.
        mandatory: the route asks for it: only safety counts.
    """
    limit = MUST_BRAKE if mandatory else SAFE_BRAKE
    if new_follower[1] < -limit or own[1] < -limit:
        return False
    if mandatory:
        return True
    others = new_follower[1] - new_follower[0] + old_follower[1] - old_follower[0]
    return bool(own[1] - own[0] + politeness * others > THRESHOLD)


def approach(speed, distance, brake, dt) -> np.ndarray:
    """The most that a vehicle may accelerate and still stop within a distance, m/s².

    It may drive at most `sqrt(2 · brake · distance)`; if it is faster it brakes as hard as it needs to, up to HARDEST.
    """
    left = np.maximum(distance, 0.01)
    needed = speed * speed / (2.0 * left)
    after = np.sqrt(2.0 * brake * np.maximum(distance - speed * dt, 0.0))
    within = np.maximum((after - speed) / dt, -brake)
    return np.maximum(np.where(needed > brake, -1.02 * needed, within), -HARDEST)


def travel_time(distance: float, speed: float, accelerate: float, cap: float) -> float:
    """Seconds to cover a distance when accelerating steadily up to `cap`, metres a second."""
    if distance <= 0.0:
        return 0.0
    speed = min(speed, cap)
    until = (cap * cap - speed * speed) / (2.0 * accelerate)
    if until >= distance:
        return float((np.sqrt(speed * speed + 2.0 * accelerate * distance) - speed) / accelerate)
    return float((cap - speed) / accelerate + (distance - until) / cap)


def fits(length: float, width: float, radius: float, room: float) -> bool:
    """Whether a box whose middle follows an arc stays within `room` metres of it on the outer side."""
    outer = radius + width / 2
    return float(np.sqrt(outer * outer + length * length / 4) - radius) <= room


def draw_vehicle(rng: np.random.Generator, radius: float, room: float) -> dict[str, float]:
    """A driver and a vehicle that fits a way whose sharpest curve has this radius; too large ones become cars."""
    found = {name: float(rng.uniform(*span)) for name, span in DRIVER.items()}
    pick, size = float(rng.random()), rng.random(3)
    shares = itertools.accumulate(facts[0] for facts in VEHICLE.values())
    name = next((name for name, share in zip(VEHICLE, shares) if pick < share), "car")
    length, width, height = _size(name, size)
    if not fits(length, width, radius, room):
        name = "car"
        length, width, height = _size(name, size)
    found["accelerate"] *= VEHICLE[name][-1]
    return {**found, "length": round(length, 2), "width": round(width, 2), "height": round(height, 2)}


def _size(name: str, part: np.ndarray) -> list[float]:
    return [float(low + x * (high - low)) for x, (low, high) in zip(part, VEHICLE[name][1:4])]

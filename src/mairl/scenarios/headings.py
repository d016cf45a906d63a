"""In which unit a file's headings are: decided by the direction of motion, never by the file's name."""

from __future__ import annotations

import numpy as np

from mairl.core.errors import InvalidData

MOVING = 2.0
"""Metres a second: slower vehicles' velocities point anywhere."""

AGREES = 0.2
"""Radians: the median angle between heading and motion in the right unit. In real logs it is 0.002 to 0.06, in the
wrong unit 0.3 to 1.6."""

MANY, LONG = 3, 50
"""Movers, and their steps, from which on motion refutes what the range says: a single vehicle may skid, or turn so
sharply that its middle does not move where it points (0.3 rad at a radius of 5 m)."""

FAR = 0.8
"""Radians: nobody skids so far."""

CLEARLY = 0.1
"""Radians: how much better one unit must fit than the other."""


def in_radians(heading: np.ndarray, velocity: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, str]:
    """The headings in radians, and how their unit was found.

    Vehicles drive where they point, or reverse: in the right unit the headings agree with the motion up to half a
    turn. Where too little moves, or everything moves so near to +x that both units fit, or a few movers fit neither,
    the range decides: beyond one turn are degrees.

    Args:
        heading: `[agent, time]`, counter-clockwise from +x, in either unit.
        velocity: `[agent, time, 2]` metres a second.
        counted: `[agent, time]` valid steps of vehicles and cyclists.

    Returns:
        Headings in radians, not wrapped; and "radians by motion", "degrees by motion", or the same "by range".

    Raises:
        InvalidData: neither unit agrees with the motion, of many or by far; with both angles.
    """
    speed = np.hypot(velocity[..., 0], velocity[..., 1])
    moving = counted & (speed > MOVING) & np.isfinite(heading) & np.isfinite(speed)
    degrees = bool((np.abs(heading[counted]) > 2 * np.pi + 0.01).any())
    why = "range"
    if moving.any():
        motion = np.arctan2(velocity[moving][:, 1], velocity[moving][:, 0])
        # Twice the angle is the same for forwards and backwards.
        off = [
            float(np.median(np.abs((2 * (unit(heading[moving]) - motion) + np.pi) % (2 * np.pi) - np.pi)) / 2)
            for unit in (np.asarray, np.radians)
        ]
        ample = moving.any(axis=1).sum() >= MANY and moving.sum() >= LONG
        if min(off) > AGREES and (ample or off[degrees] > FAR):
            raise InvalidData(
                f"headings fit the motion neither in radians ({off[0]:.2f} rad off) nor in degrees ({off[1]:.2f} rad "
                f"off, median of {int(moving.sum())} moving steps): are they counter-clockwise from +x?"
            )
        # Radians beyond one turn are unusual: a few movers do not show them.
        if min(off) <= AGREES and abs(off[0] - off[1]) > CLEARLY and (ample or off[1] < off[0] or not degrees):
            degrees, why = off[1] < off[0], "motion"
    return (np.radians(heading), f"degrees by {why}") if degrees else (heading, f"radians by {why}")

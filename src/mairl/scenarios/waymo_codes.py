"""The codes of the Waymo Open Motion Dataset, in its own files and in those that were made of them.

Each table has our value at the place of the dataset's code.
"""

from __future__ import annotations

from collections.abc import Sequence

from mairl.scenarios.schema import AgentType, EdgeType, LaneType, LineType, SignalState

AGENT = (AgentType.OTHER, AgentType.VEHICLE, AgentType.PEDESTRIAN, AgentType.CYCLIST, AgentType.OTHER)
LANE = (LaneType.UNKNOWN, LaneType.FREEWAY, LaneType.STREET, LaneType.BIKE)
LINE = (
    LineType.UNKNOWN,
    LineType.BROKEN_WHITE,
    LineType.SOLID_WHITE,
    LineType.SOLID_DOUBLE_WHITE,
    LineType.BROKEN_YELLOW,
    LineType.BROKEN_DOUBLE_YELLOW,
    LineType.SOLID_YELLOW,
    LineType.SOLID_DOUBLE_YELLOW,
    LineType.PASSING_DOUBLE_YELLOW,
)
EDGE = (EdgeType.UNKNOWN, EdgeType.BOUNDARY, EdgeType.MEDIAN)
SIGNAL = (
    SignalState.UNKNOWN,
    SignalState.ARROW_STOP,
    SignalState.ARROW_CAUTION,
    SignalState.ARROW_GO,
    SignalState.STOP,
    SignalState.CAUTION,
    SignalState.GO,
    SignalState.FLASHING_STOP,
    SignalState.FLASHING_CAUTION,
)


def coded(codes: Sequence[int], value: int) -> int:
    """Our code of the source's; one that the dataset does not define counts as its first, which is unknown."""
    return int(codes[value] if 0 <= value < len(codes) else codes[0])

"""The neutral form of a driving log: who was where, and the map, on the host.

Everything is NumPy and frozen. Units are metres, seconds and radians. Coordinates are the source's world frame, turned
by nothing and moved by `offset`: world = scenario + offset. Headings are counter-clockwise from +x, in (-π, π].
Polylines of all lengths stand one behind the other in flat arrays, so that a scene of 30,000 map points is a handful of
arrays. What a source does not say is marked as unknown by a mask or flag beside it, and its values are zeros that
mean nothing.
"""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, Int32


class AgentType(enum.IntEnum):
    """What moves."""

    OTHER = 0
    VEHICLE = 1
    PEDESTRIAN = 2
    CYCLIST = 3


USUAL_SIZE = {
    AgentType.OTHER: (1.0, 1.0, 1.5),
    AgentType.VEHICLE: (4.8, 2.0, 1.6),
    AgentType.PEDESTRIAN: (0.7, 0.7, 1.75),
    AgentType.CYCLIST: (1.9, 0.7, 1.75),
}
"""Length, width and height where a log gives none, metres."""


class LaneType(enum.IntEnum):
    """What a lane is for."""

    UNKNOWN = 0
    FREEWAY = 1
    STREET = 2
    BIKE = 3
    BUS = 4


class LineType(enum.IntEnum):
    """Road lines and lane boundaries: paint, by what it allows and its colour."""

    UNKNOWN = 0
    BROKEN_WHITE = 1
    SOLID_WHITE = 2
    SOLID_DOUBLE_WHITE = 3
    BROKEN_YELLOW = 4
    BROKEN_DOUBLE_YELLOW = 5
    SOLID_YELLOW = 6
    SOLID_DOUBLE_YELLOW = 7
    PASSING_DOUBLE_YELLOW = 8
    NONE = 9
    """There is no paint."""


class EdgeType(enum.IntEnum):
    """Road edges, which vehicles must not cross."""

    UNKNOWN = 0
    BOUNDARY = 1
    MEDIAN = 2


class SignalState(enum.IntEnum):
    """What a lane's traffic light shows."""

    UNKNOWN = 0
    STOP = 1
    CAUTION = 2
    GO = 3
    FLASHING_STOP = 4
    FLASHING_CAUTION = 5
    ARROW_STOP = 6
    ARROW_CAUTION = 7
    ARROW_GO = 8


@dataclasses.dataclass(frozen=True)
class Polylines:
    """Open or closed lines of different lengths.

    Attributes:
        points: x, y, z in metres, all lines one behind the other.
        starts: line k is `points[starts[k]:starts[k + 1]]`.
        ids: the source's names, unique in this group.
        kind: a code of the group's enumeration; 0 where there is none.
        z_known: False: z is 0 and means nothing.
    """

    points: Float32[np.ndarray, "point 3"]
    starts: Int32[np.ndarray, " line+1"]
    ids: tuple[str, ...]
    kind: Int8[np.ndarray, " line"]
    z_known: bool = True

    def __len__(self) -> int:
        return len(self.starts) - 1

    def line(self, k: int) -> Float32[np.ndarray, "n 3"]:
        """The points of one line."""
        return self.points[self.starts[k] : self.starts[k + 1]]


@dataclasses.dataclass(frozen=True)
class Lanes:
    """Lanes by their centrelines, and how they hang together.

    Attributes:
        centre: centrelines in driving direction; `kind` is a `LaneType`.
        width: metres at each point of the centrelines.
        width_known: per lane.
        speed_limit: metres a second.
        speed_limit_known: per lane.
        left_boundary, right_boundary: the main `LineType` on each side, in driving direction.
        successors: pairs of lane indices (from, to): the end of one leads into the start of the other.
        left_neighbours: pairs (lane, its left neighbour) that a vehicle may change to; in driving direction.
        right_neighbours: likewise, to the right.
        graph_from_source: False: successors and neighbours were found from geometry (`lane_graph.py`).
    """

    centre: Polylines
    width: Float32[np.ndarray, " point"]
    width_known: Bool[np.ndarray, " lane"]
    speed_limit: Float32[np.ndarray, " lane"]
    speed_limit_known: Bool[np.ndarray, " lane"]
    left_boundary: Int8[np.ndarray, " lane"]
    right_boundary: Int8[np.ndarray, " lane"]
    successors: Int32[np.ndarray, "pair 2"]
    left_neighbours: Int32[np.ndarray, "pair 2"]
    right_neighbours: Int32[np.ndarray, "pair 2"]
    graph_from_source: bool = True

    def __len__(self) -> int:
        return len(self.centre)

    @property
    def predecessors(self) -> Int32[np.ndarray, "pair 2"]:
        """Pairs (lane, one that leads into it)."""
        return self.successors[:, ::-1]


@dataclasses.dataclass(frozen=True)
class StopSigns:
    """Stop signs and the lanes that they hold up.

    Attributes:
        position: metres.
        ids: the source's names.
        controls: pairs (sign, lane).
    """

    position: Float32[np.ndarray, "sign 3"]
    ids: tuple[str, ...]
    controls: Int32[np.ndarray, "pair 2"]


@dataclasses.dataclass(frozen=True)
class Signals:
    """Traffic lights, one for each lane that has one.

    Attributes:
        lane: the lane that is controlled, an index into the lanes.
        lane_known: False: the source names no lane that the map has.
        state: a `SignalState` at each step of the log.
        stop_point: where to stop, metres.
        stop_point_known: per light.
    """

    lane: Int32[np.ndarray, " signal"]
    lane_known: Bool[np.ndarray, " signal"]
    state: Int8[np.ndarray, "signal time"]
    stop_point: Float32[np.ndarray, "signal 3"]
    stop_point_known: Bool[np.ndarray, " signal"]


@dataclasses.dataclass(frozen=True)
class RoadMap:
    """Everything that stands still.

    Attributes:
        edges: `kind` is an `EdgeType`.
        lines: `kind` is a `LineType`.
        crosswalks, speed_bumps, driveways: polygons, the first point not repeated.
    """

    lanes: Lanes
    edges: Polylines
    lines: Polylines
    crosswalks: Polylines
    speed_bumps: Polylines
    driveways: Polylines
    stop_signs: StopSigns


@dataclasses.dataclass(frozen=True)
class Tracks:
    """Where everybody was. Values where `valid` is False are zeros and mean nothing.

    Attributes:
        position: the middle of the box: x, y, z in metres.
        z_known: False: z is 0 and means nothing.
        heading: radians.
        velocity: x and y in metres a second, in the scenario's frame.
        size: length, width, height of the box, metres.
        size_known: per agent and dimension; unknown ones are 0.
        valid: the agent was seen.
        type: an `AgentType`.
        ids: the source's names, unique.
    """

    position: Float32[np.ndarray, "agent time 3"]
    heading: Float32[np.ndarray, "agent time"]
    velocity: Float32[np.ndarray, "agent time 2"]
    size: Float32[np.ndarray, "agent time 3"]
    size_known: Bool[np.ndarray, "agent 3"]
    valid: Bool[np.ndarray, "agent time"]
    type: Int8[np.ndarray, " agent"]
    ids: tuple[str, ...]
    z_known: bool = True

    def __len__(self) -> int:
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class Roles:
    """What the source asks of whom.

    Attributes:
        sdc: index of the vehicle that recorded; None: not known, or it is not among the tracks.
        predict: tracks to predict (CommonRoad: none; Argoverse: focal and scored ones).
        of_interest: tracks that interact.
    """

    sdc: int | None
    predict: Bool[np.ndarray, " agent"]
    of_interest: Bool[np.ndarray, " agent"]


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A log with its map.

    Attributes:
        scenario_id: the source's id, or the file's stem where it has none.
        source: the format it was read from: waymo, gpudrive, scenarionet, commonroad, argoverse2 or generated.
        dt: seconds between steps.
        current: index of the step that counts as now: what comes before is history.
        offset: metres; world = scenario + offset.
        notes: whatever else the source says that users may want, as plain JSON-able values.
    """

    scenario_id: str
    source: str
    dt: float
    current: int
    offset: Float64[np.ndarray, " 3"]
    tracks: Tracks
    roles: Roles
    map: RoadMap
    signals: Signals
    notes: dict = dataclasses.field(default_factory=dict)

    @property
    def num_agents(self) -> int:
        """Tracks of every type."""
        return len(self.tracks)

    @property
    def num_steps(self) -> int:
        """Steps of the log."""
        return self.tracks.valid.shape[1]

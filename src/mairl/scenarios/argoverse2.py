"""Reads Argoverse 2 motion forecasting scenes: `scenario_<id>.parquet` and `log_map_archive_<id>.json` beside it.

Tracks have no sizes and no heights. Steps are 0.1 s; the last one that is observed is the present. Buses and
motorcyclists are vehicles, as in the Waymo dataset's labels. To predict are the focal track and the scored ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mairl.core.errors import InvalidData, MairlError
from mairl.scenarios import argoverse2_map as maps
from mairl.scenarios import build
from mairl.scenarios.schema import AgentType, RoadMap, Scenario, Tracks
from mairl.scenarios.validate import validated

FORMAT = "argoverse2"
NAMES = r".+\.parquet"

DT = 0.1
"""Seconds between steps: the format's."""

TYPES = {
    **dict.fromkeys(("vehicle", "bus", "motorcyclist"), AgentType.VEHICLE),
    "cyclist": AgentType.CYCLIST,
    "pedestrian": AgentType.PEDESTRIAN,
}
"""Others (static, background, construction, riderless_bicycle, unknown) are OTHER."""

SCORED = 2
"""Categories: 0 a fragment, 1 not scored, 2 scored, 3 focal."""

RECORDER = "AV"
"""Track of the vehicle that recorded."""

TEXTS = ("track_id", "object_type", "scenario_id", "focal_track_id", "city")
WHOLES = ("object_category", "timestep")
NUMBERS = ("position_x", "position_y", "heading", "velocity_x", "velocity_y")
COLUMNS = ("observed", *TEXTS, *WHOLES, *NUMBERS)

MOST_ROWS = 2_000_000
"""Rows of a file, and agents times steps of a scene."""

LARGEST = 1 << 28
"""Bytes of a map file, or of a Parquet file once unpacked."""

NEAR = 100.0
"""Metres around the map's lanes within which somebody must be, or else the map is of another place."""


def knows(head: bytes) -> bool:
    """Whether a file that begins with these bytes is Parquet; whether the columns are Argoverse's, `read` finds out."""
    return head.startswith(b"PAR1")


def other(path: Path) -> bool:
    """Whether a file is whole Parquet with none of Argoverse's own columns."""
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError):
        return False
    return not {"track_id", "object_category", "focal_track_id", "observed"} & set(names)


def read(path: Path) -> Iterator[Scenario | InvalidData]:
    """The scene of a folder or of a Parquet file, or what is wrong with it."""
    path = Path(path)
    try:
        file = _parquet(path)
        with np.errstate(all="ignore"):  # What overflows is found by validation.
            scenario = _scenario(file)
        yield scenario
    except MairlError as error:
        yield InvalidData(f"{path}: {error}")
    except (
        *(LookupError, ValueError, TypeError, ArithmeticError, AttributeError, MemoryError, RecursionError, OSError),
        pa.ArrowException,
    ) as error:
        reason = " ".join(str(error).split())[:160]
        yield InvalidData(f"{path}: it cannot be read ({type(error).__name__}: {reason})")


def _parquet(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob("scenario_*.parquet"))
    if len(found) != 1:
        raise InvalidData(f"the folder has {len(found)} files scenario_*.parquet, expected one: name a file")
    return found[0]


def _scenario(file: Path) -> Scenario:
    rows = _rows(file)
    constant = {}
    for name in ("scenario_id", "focal_track_id", "city"):
        values = np.unique(rows[name])
        if len(values) != 1:
            raise InvalidData(f"column {name} has {len(values)} different values, expected one")
        constant[name] = str(values[0])
    tracks, category = _tracks(rows)
    road, notes = _map(file, constant["scenario_id"])
    _near(tracks, road)
    observed = rows["timestep"][rows["observed"]]
    of = {identity: k for k, identity in enumerate(tracks.ids)}
    scenario = Scenario(
        constant["scenario_id"],
        FORMAT,
        DT,
        int(observed.max()) if len(observed) else 0,
        np.zeros(3),
        tracks,
        build.roles(len(tracks), of.get(RECORDER), predict=np.flatnonzero(category >= SCORED)),
        road,
        build.no_signals(tracks.valid.shape[1]),
        {"city": constant["city"], "focal_track_id": constant["focal_track_id"], **notes},
    )
    return validated(build.recentred(scenario))


def _rows(file: Path) -> dict[str, np.ndarray]:
    """The columns that are needed, one entry a row, all of one length."""
    with pq.ParquetFile(file) as parquet:
        facts = parquet.metadata
        if missing := set(COLUMNS) - set(parquet.schema_arrow.names):
            raise InvalidData(f"it lacks the columns {', '.join(sorted(missing))}: is it an Argoverse 2 scene?")
        unpacked = sum(facts.row_group(k).total_byte_size for k in range(facts.num_row_groups))
        if not 0 < facts.num_rows <= MOST_ROWS or unpacked > LARGEST:
            raise InvalidData(f"it has {facts.num_rows} rows of {unpacked} bytes, expected 1 to {MOST_ROWS} rows")
        table = parquet.read(columns=list(COLUMNS), use_threads=False)
    kinds = {
        "observed": (pa.types.is_boolean, "true or false"),
        **dict.fromkeys(TEXTS, (lambda t: pa.types.is_string(t) or pa.types.is_large_string(t), "text")),
        **dict.fromkeys(WHOLES, (pa.types.is_integer, "whole numbers")),
        **dict.fromkeys(NUMBERS, (pa.types.is_floating, "numbers")),
    }
    rows = {}
    for name, (fits, expected) in kinds.items():
        column = table.column(name)
        if not fits(column.type) or column.null_count:
            raise InvalidData(
                f"column {name} holds {column.type} with {column.null_count} empty, expected {expected} in every row"
            )
        rows[name] = np.asarray(column.to_pylist()) if name in TEXTS else column.to_numpy()
        if name in NUMBERS and not np.isfinite(rows[name]).all():
            raise InvalidData(f"column {name} holds {int((~np.isfinite(rows[name])).sum())} values that are not finite")
    return rows


def _tracks(rows: dict[str, np.ndarray]) -> tuple[Tracks, np.ndarray]:
    """Tracks in order of their first rows, in the file's frame, and their categories."""
    ids, first, agent = np.unique(rows["track_id"], return_index=True, return_inverse=True)
    order = np.argsort(first)
    agent = np.argsort(order)[agent]
    ids, first = ids[order], first[order]
    step = rows["timestep"]
    count, steps = len(ids), int(step.max()) + 1
    if step.min() < 0 or count * steps > MOST_ROWS:
        raise InvalidData(
            f"timestep runs from {step.min()} to {step.max()} for {count} tracks, expected 0 to at most "
            f"{MOST_ROWS // count - 1}"
        )
    valid = np.zeros((count, steps), bool)
    valid[agent, step] = True
    if valid.sum() != len(step):
        raise InvalidData(f"{len(step) - valid.sum()} rows repeat a track and timestep of another row")

    def over_time(*names: str) -> np.ndarray:
        values = np.zeros((count, steps, len(names)))
        values[agent, step] = np.stack([rows[name] for name in names], -1)
        return values

    zeros = np.zeros((count, steps, 1))
    tracks = Tracks(
        np.concatenate([over_time("position_x", "position_y"), zeros], -1),
        over_time("heading")[..., 0],
        over_time("velocity_x", "velocity_y"),
        np.repeat(zeros, 3, -1),
        np.zeros((count, 3), bool),
        valid,
        np.array([TYPES.get(str(kind), AgentType.OTHER) for kind in rows["object_type"][first]], np.int8),
        tuple(map(str, ids)),
        z_known=False,
    )
    return tracks, rows["object_category"][first]


def _map(file: Path, scenario_id: str) -> tuple[RoadMap, dict]:
    """The map beside a scene's file, in the file's frame, and notes on it."""
    archive = file.with_name(f"log_map_archive_{scenario_id}.json")
    if not archive.is_file():
        others = sorted(other.name for other in file.parent.glob("log_map_archive_*.json"))
        raise InvalidData(
            f"its map {archive.name} is missing"
            + (f" (there is {others[0]}, of another scene)" if others else "")
            + ": put it beside the file"
        )
    if archive.stat().st_size > LARGEST:
        raise InvalidData(f"{archive.name} has {archive.stat().st_size} bytes, expected at most {LARGEST}")
    try:
        return maps.road_map(json.loads(archive.read_bytes()))
    except InvalidData as error:
        raise InvalidData(f"{archive.name}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidData(f"{archive.name} is no whole JSON file ({str(error)[:120]}): fetch it again") from error


def _near(tracks: Tracks, road: RoadMap) -> None:
    """Refuses a map that nobody is on."""
    lanes = road.lanes.centre.points[:, :2]
    if not len(lanes):
        raise InvalidData("its map has no lane segments")
    seen = tracks.position[tracks.valid][:, :2]
    inside = ((seen >= lanes.min(0) - NEAR) & (seen <= lanes.max(0) + NEAR)).all(1)
    if not inside.any():
        raise InvalidData(
            f"none of its {len(seen)} positions is within {NEAR:.0f} m of its map: the map is of another scene"
        )

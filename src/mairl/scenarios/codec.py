"""One scenario as one row of a table: numbers to filter on first, then every array as a list that Parquet can hold.

Polylines of all groups stand in one set of columns, `map.*`, lanes first; arrays of several axes are flattened, last
axis fastest. The row is the whole scenario: `decode(encode(s))` has the same fields, to the bit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mairl.core.errors import InvalidData
from mairl.scenarios.schema import (
    AgentType,
    Lanes,
    Polylines,
    RoadMap,
    Roles,
    Scenario,
    Signals,
    StopSigns,
    Tracks,
)

GROUPS = ("lanes", "edges", "lines", "crosswalks", "speed_bumps", "driveways")
"""Groups of polylines by their code in `map.group`."""

MOVES = 2.0
"""Metres from where it was first seen: a vehicle that gets no farther does not count as moving."""

_SCALARS = {
    "scenario_id": pa.string(),
    "source": pa.string(),
    "num_agents": pa.int32(),
    "num_steps": pa.int32(),
    "dt": pa.float64(),
    "valid_agent_steps": pa.int64(),
    "num_lanes": pa.int32(),
    "num_road_edges": pa.int32(),
    "num_road_lines": pa.int32(),
    "sdc_index": pa.int32(),
    "num_vehicles": pa.int32(),
    "num_pedestrians": pa.int32(),
    "num_cyclists": pa.int32(),
    "moving_vehicles": pa.int32(),
    "num_signals": pa.int32(),
    "num_stop_signs": pa.int32(),
    "num_crosswalks": pa.int32(),
    "num_map_points": pa.int32(),
}

METADATA = pa.schema([pa.field(name, kind, nullable=name == "sdc_index") for name, kind in _SCALARS.items()])
"""The columns to filter on. `sdc_index` is null where it is not known."""

_TEXT, _FLAG, _CODE, _INDEX, _REAL = pa.string(), pa.bool_(), pa.int8(), pa.int32(), pa.float32()
_ARRAYS = {
    "offset": pa.float64(),
    **dict.fromkeys(
        [f"tracks.{n}" for n in ("x", "y", "z", "heading", "vx", "vy", "length", "width", "height")], _REAL
    ),
    "tracks.size_known": _FLAG,
    "tracks.valid": _FLAG,
    "tracks.type": _CODE,
    "tracks.ids": _TEXT,
    "roles.predict": _FLAG,
    "roles.of_interest": _FLAG,
    "map.group": _CODE,
    "map.kind": _CODE,
    "map.ids": _TEXT,
    "map.points": _INDEX,
    "map.x": _REAL,
    "map.y": _REAL,
    "map.z": _REAL,
    "map.z_known": _FLAG,
    "lanes.width": _REAL,
    "lanes.width_known": _FLAG,
    "lanes.speed_limit": _REAL,
    "lanes.speed_limit_known": _FLAG,
    "lanes.left_boundary": _CODE,
    "lanes.right_boundary": _CODE,
    "lanes.successors": _INDEX,
    "lanes.left_neighbours": _INDEX,
    "lanes.right_neighbours": _INDEX,
    "stop_signs.position": _REAL,
    "stop_signs.ids": _TEXT,
    "stop_signs.controls": _INDEX,
    "signals.lane": _INDEX,
    "signals.lane_known": _FLAG,
    "signals.state": _CODE,
    "signals.stop_point": _REAL,
    "signals.stop_point_known": _FLAG,
}
_SINGLES = {"current": pa.int32(), "tracks.z_known": _FLAG, "lanes.graph_from_source": _FLAG, "notes": pa.string()}

SCHEMA = pa.schema(
    [
        *METADATA,
        *[pa.field(name, kind, nullable=False) for name, kind in _SINGLES.items()],
        *[pa.field(name, pa.list_(kind), nullable=False) for name, kind in _ARRAYS.items()],
    ]
)
"""All columns: `METADATA`, then what `decode` needs. `notes` is JSON; `map.points` is the number of points a line."""


LEVEL = 9
"""Of zstd. On real scenes 15 would save another 1 to 5% and take 1.4 to 4.5 times as long."""

_SPLIT = [f"{home}.{name}.list.element" for home in ("tracks", "map") for name in ("x", "y", "z")]
_SPLIT += [f"tracks.{name}.list.element" for name in ("heading", "vx", "vy")]
_REPEATED = [f"tracks.{name}.list.element" for name in ("length", "width", "height")]


def metadata(scenario: Scenario) -> dict[str, Any]:
    """The row's values of the columns of `METADATA`."""
    tracks, road = scenario.tracks, scenario.map
    vehicles = tracks.type == AgentType.VEHICLE
    return {
        "scenario_id": scenario.scenario_id,
        "source": scenario.source,
        "num_agents": scenario.num_agents,
        "num_steps": scenario.num_steps,
        "dt": float(scenario.dt),
        "valid_agent_steps": int(tracks.valid.sum()),
        "num_lanes": len(road.lanes),
        "num_road_edges": len(road.edges),
        "num_road_lines": len(road.lines),
        "sdc_index": None if scenario.roles.sdc is None else int(scenario.roles.sdc),
        "num_vehicles": int(vehicles.sum()),
        "num_pedestrians": int((tracks.type == AgentType.PEDESTRIAN).sum()),
        "num_cyclists": int((tracks.type == AgentType.CYCLIST).sum()),
        "moving_vehicles": int((vehicles & (_travelled(tracks) > MOVES)).sum()),
        "num_signals": len(scenario.signals.lane),
        "num_stop_signs": len(road.stop_signs.ids),
        "num_crosswalks": len(road.crosswalks),
        "num_map_points": sum(len(lines.points) for lines in _groups(road)),
    }


def encode(scenario: Scenario) -> pa.Table:
    """A table of one row, with the columns of `SCHEMA`.

    Raises:
        InvalidData: something that Parquet or JSON cannot hold: text that is not Unicode, notes that are not plain.
    """
    try:
        notes = json.dumps(scenario.notes, ensure_ascii=False, allow_nan=False)
        singles = {
            **metadata(scenario),
            "current": int(scenario.current),
            "tracks.z_known": bool(scenario.tracks.z_known),
            "lanes.graph_from_source": bool(scenario.map.lanes.graph_from_source),
            "notes": notes,
        }
        columns = [pa.array([singles[name]], kind) for name, kind in {**_SCALARS, **_SINGLES}.items()]
        found = _arrays(scenario)
        columns += [_list(found[name], kind) for name, kind in _ARRAYS.items()]
        return pa.Table.from_arrays(columns, schema=SCHEMA)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, RecursionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InvalidData(f"scenario {scenario.scenario_id!r} cannot be written: {reason}") from error


def decode(row: pa.Table) -> Scenario:
    """The scenario of a table of one row, not validated again. Arrays may be read-only.

    Raises:
        InvalidData: columns are missing, or their lengths do not fit together.
    """
    missing = [name for name in SCHEMA.names if name not in row.column_names]
    if missing or row.num_rows != 1:
        raise InvalidData(f"the row is damaged or by another version ({row.num_rows} rows, it lacks {missing[:5]})")
    values: dict[str, Any] = {name: row[name][0].as_py() for name in (*_SCALARS, *_SINGLES)}
    try:
        for name, kind in _ARRAYS.items():
            flat = row[name].combine_chunks().flatten()
            text = pa.types.is_string(kind)
            values[name] = tuple(flat.to_pylist()) if text else flat.to_numpy(zero_copy_only=False)
        return _scenario(values)
    except (pa.ArrowException, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InvalidData(f"scenario {values['scenario_id']!r} is damaged or by another version: {reason}") from error


def writer(path: Path) -> pq.ParquetWriter:
    """Writes rows to a Parquet file (zstd); one `write_table` a row, so that each is a row group of its own.

    Coordinates are split by bytes before they are compressed: neighbours share their high bytes. Only the columns to
    filter on have statistics; the others' would cost more than they can save. Every page has a checksum.
    """
    options: dict[str, Any] = {
        "use_dictionary": _REPEATED,
        "use_byte_stream_split": _SPLIT,
        "write_statistics": METADATA.names,
        "write_page_checksum": True,
    }
    return pq.ParquetWriter(path, SCHEMA, compression="zstd", compression_level=LEVEL, **options)


def _travelled(tracks: Tracks) -> np.ndarray:
    """`[agent]` metres between where each was first seen and the farthest that it got from there."""
    if not tracks.valid.size:
        return np.zeros(len(tracks))
    first = tracks.position[np.arange(len(tracks)), tracks.valid.argmax(1), :2]
    away = np.linalg.norm(tracks.position[..., :2] - first[:, None], axis=-1)
    return np.where(tracks.valid, away, 0.0).max(1)


def _groups(road: RoadMap) -> list[Polylines]:
    return [road.lanes.centre if name == "lanes" else getattr(road, name) for name in GROUPS]


def _list(values: Any, kind: pa.DataType) -> pa.Array:
    flat = pa.array(values if isinstance(values, list) else np.asarray(values, kind.to_pandas_dtype()).ravel(), kind)
    return pa.ListArray.from_arrays(pa.array([0, len(flat)], pa.int32()), flat)


def _arrays(s: Scenario) -> dict[str, Any]:
    tracks, lanes, signs, signals, groups = s.tracks, s.map.lanes, s.map.stop_signs, s.signals, _groups(s.map)
    points = np.concatenate([lines.points for lines in groups])
    found = {
        "offset": s.offset,
        "tracks.ids": list(tracks.ids),
        "roles.predict": s.roles.predict,
        "roles.of_interest": s.roles.of_interest,
        "map.group": np.repeat(np.arange(len(groups)), [len(lines) for lines in groups]),
        "map.kind": np.concatenate([lines.kind for lines in groups]),
        "map.ids": [name for lines in groups for name in lines.ids],
        "map.points": np.concatenate([np.diff(lines.starts) for lines in groups]),
        "map.z_known": np.array([lines.z_known for lines in groups]),
        "stop_signs.ids": list(signs.ids),
        **{f"map.{name}": points[:, i] for i, name in enumerate("xyz")},
        **{f"tracks.{name}": tracks.position[..., i] for i, name in enumerate("xyz")},
        **{f"tracks.{name}": tracks.velocity[..., i] for i, name in enumerate(("vx", "vy"))},
        **{f"tracks.{name}": tracks.size[..., i] for i, name in enumerate(("length", "width", "height"))},
    }
    homes = {"tracks": tracks, "lanes": lanes, "stop_signs": signs, "signals": signals}
    for name in _ARRAYS:
        if name not in found:
            home, field = name.split(".")
            found[name] = getattr(homes[home], field)
    return found


def _scenario(v: dict[str, Any]) -> Scenario:
    shape = (v["num_agents"], v["num_steps"])

    def stacked(home: str, names: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
        return np.stack([v[f"{home}.{name}"].reshape(shape) for name in names], -1)

    tracks = Tracks(
        stacked("tracks", ("x", "y", "z"), shape),
        v["tracks.heading"].reshape(shape),
        stacked("tracks", ("vx", "vy"), shape),
        stacked("tracks", ("length", "width", "height"), shape),
        v["tracks.size_known"].reshape(-1, 3),
        v["tracks.valid"].reshape(shape),
        v["tracks.type"],
        v["tracks.ids"],
        v["tracks.z_known"],
    )
    lines = _polylines(v)
    lanes = Lanes(
        lines["lanes"],
        v["lanes.width"],
        v["lanes.width_known"],
        v["lanes.speed_limit"],
        v["lanes.speed_limit_known"],
        v["lanes.left_boundary"],
        v["lanes.right_boundary"],
        v["lanes.successors"].reshape(-1, 2),
        v["lanes.left_neighbours"].reshape(-1, 2),
        v["lanes.right_neighbours"].reshape(-1, 2),
        v["lanes.graph_from_source"],
    )
    signs = StopSigns(
        v["stop_signs.position"].reshape(-1, 3), v["stop_signs.ids"], v["stop_signs.controls"].reshape(-1, 2)
    )
    signals = Signals(
        v["signals.lane"],
        v["signals.lane_known"],
        v["signals.state"].reshape(-1, shape[1]),
        v["signals.stop_point"].reshape(-1, 3),
        v["signals.stop_point_known"],
    )
    return Scenario(
        v["scenario_id"],
        v["source"],
        v["dt"],
        v["current"],
        v["offset"],
        tracks,
        Roles(v["sdc_index"], v["roles.predict"], v["roles.of_interest"]),
        RoadMap(lanes, stop_signs=signs, **{name: lines[name] for name in GROUPS[1:]}),
        signals,
        json.loads(v["notes"]),
    )


def _polylines(v: dict[str, Any]) -> dict[str, Polylines]:
    """The groups, cut apart where `map.group` changes."""
    points = np.stack([v[f"map.{name}"] for name in "xyz"], -1)
    line = np.searchsorted(v["map.group"], np.arange(len(GROUPS) + 1))
    ends = np.concatenate([[0], np.cumsum(v["map.points"], dtype=np.int32)]).astype(np.int32)
    return {
        name: Polylines(
            points[ends[a] : ends[b]], ends[a : b + 1] - ends[a], v["map.ids"][a:b], v["map.kind"][a:b], known
        )
        for name, a, b, known in zip(GROUPS, line[:-1], line[1:], v["map.z_known"].tolist(), strict=True)
    }

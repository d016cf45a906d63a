"""The `Scenario` protobufs of the Waymo Open Motion Dataset, and how to read many small messages at once.

The schema is declared here, with the dataset's public field numbers and only what the reader uses: nothing is
generated. Points and states come as bytes: tens of thousands of them in a scene, almost all laid out alike, so `table`
decodes them by their layout, and message by message only where it must.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_MESSAGES = {
    "MapPoint": "x 1 double, y 2 double, z 3 double",
    "ObjectState": "center_x 2 double, center_y 3 double, center_z 4 double, length 5 float, width 6 float, "
    "height 7 float, heading 8 float, velocity_x 9 float, velocity_y 10 float, valid 11 bool",
    "Track": "id 1 int32, object_type 2 int32, states 3 bytes*",
    "LaneState": "lane 1 int64, state 2 int32, stop_point 3 bytes",
    "DynamicMapState": "lane_states 1 LaneState*",
    "RequiredPrediction": "track_index 1 int32, difficulty 2 int32",
    "BoundarySegment": "lane_start_index 1 int32, lane_end_index 2 int32, boundary_feature_id 3 int64, "
    "boundary_type 4 int32",
    "LaneNeighbor": "feature_id 1 int64",
    "LaneCenter": "speed_limit_mph 1 double, type 2 int32, interpolating 3 bool, polyline 8 bytes*, "
    "entry_lanes 9 int64*, exit_lanes 10 int64*, left_neighbors 11 LaneNeighbor*, right_neighbors 12 LaneNeighbor*, "
    "left_boundaries 13 BoundarySegment*, right_boundaries 14 BoundarySegment*",
    "RoadLine": "type 1 int32, polyline 2 bytes*",
    "RoadEdge": "type 1 int32, polyline 2 bytes*",
    "StopSign": "lane 1 int64*, position 2 bytes",
    "Polygon": "polygon 1 bytes*",
    "MapFeature": "id 1 int64, lane 3 LaneCenter|, road_line 4 RoadLine|, road_edge 5 RoadEdge|, "
    "stop_sign 7 StopSign|, crosswalk 8 Polygon|, speed_bump 9 Polygon|, driveway 10 Polygon|",
    "Scenario": "timestamps_seconds 1 double*, tracks 2 Track*, objects_of_interest 4 int32*, scenario_id 5 bytes, "
    "sdc_track_index 6 int32, dynamic_map_states 7 DynamicMapState*, map_features 8 MapFeature*, "
    "current_time_index 10 int32, tracks_to_predict 11 RequiredPrediction*",
    "ExampleEntry": "key 1 bytes, value 2 bytes",
    "ExampleFeatures": "feature 1 ExampleEntry*",
    "Example": "features 1 ExampleFeatures",
}
"""Fields by name, number and type; `*`: any number of them; `|`: at most one of these."""

_PACKAGE = "mairl.scenarios.waymo"
_Field = descriptor_pb2.FieldDescriptorProto


def _messages() -> dict[str, Any]:
    """The classes of all messages, in a pool of their own, which another package's schema cannot clash with."""
    file = descriptor_pb2.FileDescriptorProto(name="mairl/scenarios/waymo.proto", package=_PACKAGE)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields.split(", "):
            field_name, number, kind = text.split()
            field = message.field.add(name=field_name, number=int(number))
            field.label = _Field.LABEL_REPEATED if kind.endswith("*") else _Field.LABEL_OPTIONAL
            if kind.endswith("|"):
                field.oneof_index = 0
            kind = kind.rstrip("*|")
            if kind in _MESSAGES:
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = _Field.Type.Value(f"TYPE_{kind.upper()}")
        if any(field.HasField("oneof_index") for field in message.field):
            message.oneof_decl.add(name="feature_data")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


MESSAGES = _messages()
"""Message classes by name, such as `MESSAGES["Scenario"]`."""

_FIXED = {_Field.TYPE_DOUBLE: (1, "<f8"), _Field.TYPE_FLOAT: (5, "<f4"), _Field.TYPE_BOOL: (0, "u1")}
"""Wire type and NumPy type of what `table` can read in place: a bool is a varint of one byte."""

_SIZES = {0: 1, 1: 8, 5: 4}


def is_example(payload: bytes) -> bool:
    """Whether a record is a `tf.Example`: named features, instead of a `Scenario`."""
    if payload[:1] != b"\n":  # Its only field comes first.
        return False
    try:
        found = MESSAGES["Example"].FromString(payload)
    except Exception:  # The C and the Python implementation of protobuf raise different errors.
        return False
    return any(entry.key and entry.value for entry in found.features.feature)


def table(items: Sequence[bytes], name: str) -> np.ndarray:
    """Many messages of doubles, floats and bools as one structured array `[item]`; absent fields are 0.

    Args:
        items: encoded messages.
        name: which message they are.

    Raises:
        google.protobuf.message.DecodeError: an item is no such message.
    """
    fields = MESSAGES[name].DESCRIPTOR.fields
    result = np.zeros(len(items), [(f.name, _FIXED[f.type][1]) for f in fields])
    lengths = np.fromiter(map(len, items), np.int64, len(items))
    left = np.ones(len(items), bool)
    order = np.argsort(lengths, kind="stable")
    for which in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1) if len(items) else []:
        first = items[int(which[0])]
        layout = _layout(first, fields)
        if layout is None:
            continue
        rows = np.frombuffer(b"".join([items[i] for i in which.tolist()]), np.uint8).reshape(len(which), len(first))
        places, ones, values = layout
        alike = (rows[:, places] == rows[0, places]).all(1) & (rows[:, ones] < 128).all(1)
        rows, which = rows[alike], which[alike]
        for field, (place, kind) in values.items():
            size = np.dtype(kind).itemsize
            result[field][which] = np.ascontiguousarray(rows[:, place : place + size]).view(kind)[:, 0]
        left[which] = False
    for i in np.flatnonzero(left).tolist():
        result[i] = _one(items[i], name)
    for field in fields:
        if field.type == _Field.TYPE_BOOL:
            result[field.name] = result[field.name] != 0
    return result


def _one(item: bytes, name: str) -> tuple:
    """The fields of one message, decoded by protobuf."""
    message = MESSAGES[name].FromString(item)
    return tuple(getattr(message, f.name) for f in message.DESCRIPTOR.fields)


def _layout(item: bytes, fields) -> tuple[list[int], list[int], dict[str, tuple[int, str]]] | None:
    """Where a message has its tags, its varints and its values; None: its layout is not fixed."""
    kinds = {f.number: (f.name, *_FIXED[f.type]) for f in fields}
    tags, varints, values = [], [], {}
    i = 0
    while i < len(item):
        number, wire = item[i] >> 3, item[i] & 7
        size = _SIZES.get(wire)
        if item[i] >= 128 or number == 0 or size is None or i + 1 + size > len(item):
            return None
        tags.append(i)
        if wire == 0:
            varints.append(i + 1)
        field, expected, kind = kinds.get(number, ("", -1, ""))
        if wire == expected:  # Another wire type is an unknown field to protobuf, and is skipped. The last one counts.
            values[field] = (i + 1, kind)
        i += 1 + size
    return tags, varints, values

"""The Waymo reader on a real record, against what a walker of the wire format finds in the same bytes."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mairl.scenarios import waymo, waymo_wire
from mairl.scenarios.schema import Scenario

DATA = next((p / "shared" / "data" for p in Path(__file__).resolve().parents if (p / "shared" / "data").is_dir()), None)
DATA = Path(os.environ["MAIRL_SHARED_DATA"]) if "MAIRL_SHARED_DATA" in os.environ else DATA
REAL = (DATA or Path()) / "womd_tfrecord" / "womd_scenario_input.tfrecord"
needs_data = pytest.mark.skipif(not REAL.exists(), reason="the sample data is not here")


def only(file: Path) -> Scenario:
    (found,) = waymo.read(file)
    assert isinstance(found, Scenario), found
    return found


def fields_of(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of an encoded message, by the wire format alone: number and value."""

    def varint(i: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = data[i]
            value |= (byte & 127) << shift
            i, shift = i + 1, shift + 7
            if byte < 128:
                return value, i

    i = 0
    while i < len(data):
        key, i = varint(i)
        if key & 7 == 0:
            value, i = varint(i)
        else:
            size = {1: 8, 5: 4}.get(key & 7)
            if size is None:
                size, i = varint(i)
            value, i = data[i : i + size], i + size
        yield key >> 3, value


@needs_data
def test_a_real_scenario_is_what_its_bytes_say(monkeypatch):
    data = REAL.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    top = list(fields_of(data[12 : 12 + length]))
    tracks = [[dict(fields_of(v)) for n, v in fields_of(track) if n == 3] for number, track in top if number == 2]
    features = [dict(fields_of(feature)) for number, feature in top if number == 8]
    s = only(REAL)
    assert (s.num_agents, s.num_steps) == (len(tracks), len(tracks[0]))
    valid = [[bool(state.get(11)) for state in states] for states in tracks]
    assert s.tracks.valid.tolist() == valid
    i, t = np.argwhere(s.tracks.valid)[-1]
    for agent, step in ((0, valid[0].index(True)), (i, t)):
        world = [struct.unpack("<d", tracks[agent][step][number])[0] for number in (2, 3, 4)]
        np.testing.assert_allclose(s.tracks.position[agent, step] + s.offset, world, atol=1e-4)
        size = [struct.unpack("<f", tracks[agent][step][number])[0] for number in (5, 6, 7)]
        np.testing.assert_allclose(s.tracks.size[agent, step], size, rtol=1e-6)
    groups = {3: (s.map.lanes.centre, 8), 4: (s.map.lines, 2), 5: (s.map.edges, 2), 8: (s.map.crosswalks, 1)}
    groups |= {9: (s.map.speed_bumps, 1), 10: (s.map.driveways, 1)}
    for number, (group, places) in groups.items():
        own = [feature for feature in features if number in feature]
        lines = [[v for n, v in fields_of(feature[number]) if n == places] for feature in own]
        assert group.ids == tuple(str(feature[1]) for feature in own)
        assert np.diff(group.starts).tolist() == [len(line) for line in lines]
        if lines:
            first = dict(fields_of(lines[0][0]))
            world = [struct.unpack("<d", first[axis])[0] for axis in (1, 2, 3)]
            np.testing.assert_allclose(group.points[0] + s.offset, world, atol=1e-4)
    ids = [feature[1] for feature in features if 3 in feature]
    limits = [struct.unpack("<d", dict(fields_of(f[3]))[1])[0] * 0.44704 for f in features if 3 in f]
    np.testing.assert_allclose(s.map.lanes.speed_limit, limits, rtol=1e-6)
    assert len(s.map.stop_signs.ids) == sum(7 in feature for feature in features)
    assert s.roles.sdc == next(value for number, value in top if number == 6)
    wanted = [dict(fields_of(value))[1] for number, value in top if number == 11]
    assert np.flatnonzero(s.roles.predict).tolist() == sorted(wanted)
    assert s.scenario_id.encode() == next(value for number, value in top if number == 5)
    # Lanes join: the end of one is the start of the next, and lanes are a few metres wide.
    centre = s.map.lanes.centre
    gaps = [np.linalg.norm(centre.line(a)[-1] - centre.line(b)[0]) for a, b in s.map.lanes.successors]
    assert len(gaps) > len(ids) / 2
    assert max(gaps) < 0.5
    widths = s.map.lanes.width[np.repeat(s.map.lanes.width_known, np.diff(centre.starts))]
    assert len(widths) > 1000
    assert 2 < widths.min() < widths.max() < 8
    # The other path to the same scenario: every point and state by protobuf itself.
    monkeypatch.setattr(waymo_wire, "_layout", lambda *_: None)
    again = only(REAL)
    np.testing.assert_array_equal(again.tracks.position, s.tracks.position)
    np.testing.assert_array_equal(again.tracks.velocity, s.tracks.velocity)
    np.testing.assert_array_equal(again.map.lanes.centre.points, s.map.lanes.centre.points)
    np.testing.assert_array_equal(again.map.lanes.width, s.map.lanes.width)

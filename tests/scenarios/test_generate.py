"""Made-up scenarios: roads that hang together, and traffic that neither touches nor breaks a rule."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from mairl.core.errors import InvalidData
from mairl.scenarios.generate import KINDS, generate, generate_many
from mairl.scenarios.generate.right_of_way import RightOfWay
from mairl.scenarios.schema import AgentType, EdgeType, Scenario, SignalState
from mairl.scenarios.validate import validated

SEEDS = 23  # of each kind: 207 scenarios
SIGNALS = [kind for kind in KINDS if kind.endswith("_signal")]


@functools.cache
def logs(kind: str) -> list[Scenario]:
    """The scenarios that all invariants are checked on; a short warm-up keeps the tests quick."""
    return list(generate_many(100, SEEDS, kind, warm_up=18.0, steps=61))


def corners(s: Scenario) -> np.ndarray:
    """Of all boxes `[agent, time, 4, 2]`, counter-clockwise, full size."""
    t = s.tracks
    middle, heading = t.position[..., :2].astype(np.float64), t.heading.astype(np.float64)
    along = np.stack([np.cos(heading), np.sin(heading)], -1) * t.size[..., :1] / 2
    across = np.stack([-np.sin(heading), np.cos(heading)], -1) * t.size[..., 1:2] / 2
    return np.stack([middle + a * along + b * across for a, b in ((1, -1), (1, 1), (-1, 1), (-1, -1))], -2)


def touch(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether two boxes `[..., 4, 2]` touch: no side of either separates them."""
    apart = np.zeros(a.shape[:-2], bool)
    for box in (a, b):
        for k in (0, 1):
            side = box[..., k + 1, :] - box[..., k, :]
            x, y = ((boxes * side[..., None, :]).sum(-1) for boxes in (a, b))
            apart |= (x.max(-1) < y.min(-1)) | (y.max(-1) < x.min(-1))
    return ~apart


def overlaps(s: Scenario) -> list[tuple[int, int, int]]:
    """(agent, agent, step) of boxes that touch."""
    valid, box = s.tracks.valid, corners(s)
    i, j = np.triu_indices(len(s.tracks), 1)
    reach = np.hypot(s.tracks.size[..., 0], s.tracks.size[..., 1]).max(1) / 2
    apart = s.tracks.position[i, :, :2] - s.tracks.position[j, :, :2]
    near = valid[i] & valid[j] & ((apart**2).sum(-1) < (reach[i] + reach[j])[:, None] ** 2)
    pair, step = np.nonzero(near)
    bad = touch(box[i[pair], step], box[j[pair], step])
    return list(zip(i[pair][bad], j[pair][bad], step[bad]))


def segments(s: Scenario) -> np.ndarray:
    """Of all road edges `[segment, 2 ends, 2]`."""
    lines = [s.map.edges.line(k)[:, :2].astype(np.float64) for k in range(len(s.map.edges))]
    return np.concatenate([np.stack([line[:-1], line[1:]], 1) for line in lines])


def cross(a, b) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def edge_crossings(s: Scenario) -> list[tuple[int, int]]:
    """(agent, step) where a side of the box meets a road edge; every second step."""
    agent, step = np.nonzero(s.tracks.valid[:, ::2])
    step *= 2
    box, edge = corners(s)[agent, step], segments(s)
    middle = (edge[:, 0] + edge[:, 1]) / 2
    half = np.sqrt(((edge[:, 1] - edge[:, 0]) ** 2).sum(1)) / 2
    at = s.tracks.position[agent, step, :2].astype(np.float64)
    reach = np.hypot(s.tracks.size[agent, step, 0], s.tracks.size[agent, step, 1]) / 2
    found = []
    for part in np.array_split(np.arange(len(agent)), max(1, len(agent) // 200)):
        x, y = (at[part, None, i] - middle[None, :, i] for i in (0, 1))
        row, k = np.nonzero(x * x + y * y < (reach[part, None] + half) ** 2)
        row = part[row]
        hit = np.zeros(len(row), bool)
        p, q = edge[k, 0], edge[k, 1]
        for a, b in ((0, 1), (1, 2), (2, 3), (3, 0)):
            u, v = box[row, a], box[row, b]
            hit |= (cross(v - u, p - u) * cross(v - u, q - u) <= 0) & (cross(q - p, u - p) * cross(q - p, v - p) <= 0)
        found += list(zip(agent[row[hit]], step[row[hit]]))
    return found


def red_runs(s: Scenario) -> list[tuple[int, int]]:
    """(agent, step): its front passes a stop point, on that lane, while the light is red."""
    found = []
    front = s.tracks.position[..., :2] + (
        np.stack([np.cos(s.tracks.heading), np.sin(s.tracks.heading)], -1) * s.tracks.size[..., :1] / 2
    )
    for lane, point, state in zip(s.signals.lane, s.signals.stop_point, s.signals.state):
        line = s.map.lanes.centre.line(int(lane))[:, :2]
        along = line[-1] - line[-2]
        along = along / np.sqrt((along**2).sum())
        ahead, aside = (front - point[:2]) @ along, np.abs(cross(along, front - point[:2]))
        facing = np.cos(s.tracks.heading - np.arctan2(along[1], along[0])) > 0.9
        passes = (ahead[:, :-1] <= 0) & (ahead[:, 1:] > 0) & (aside[:, 1:] < 1.0) & facing[:, 1:]
        passes &= s.tracks.valid[:, :-1] & s.tracks.valid[:, 1:] & (state[:-1] == SignalState.STOP)
        found += list(zip(*np.nonzero(passes)))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_boxes_touch(kind):
    bad = {s.scenario_id: found[:3] for s in logs(kind) if (found := overlaps(s))}
    assert not bad


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_crosses_an_edge(kind):
    bad = {s.scenario_id: found[:3] for s in logs(kind) if (found := edge_crossings(s))}
    assert not bad


@pytest.mark.parametrize("kind", SIGNALS)
def test_nobody_runs_a_red_light(kind):
    assert not {s.scenario_id: found for s in logs(kind) if (found := red_runs(s))}
    shown = np.concatenate([np.unique(s.signals.state) for s in logs(kind)])
    assert set(shown) == {SignalState.STOP, SignalState.CAUTION, SignalState.GO}


def test_drivers_who_ignore_lights_are_found(monkeypatch):
    made = RightOfWay.__init__

    def blind(self, *args):
        made(self, *args)
        self.by_light[:] = False

    monkeypatch.setattr(RightOfWay, "__init__", blind)
    assert sum(len(red_runs(s)) for s in generate_many(0, 4, "four_way_signal", warm_up=15.0, interval=4.0)) > 3


def test_planted_overlaps_and_crossings_are_found():
    s = logs("highway")[0]
    t = s.tracks
    i, j = np.nonzero(t.valid[:, 30])[0][:2]
    position = t.position.copy()
    position[i, 30] = position[j, 30] + [1.0, 1.0, 0]
    moved = dataclasses.replace(s, tracks=dataclasses.replace(t, position=position))
    assert (min(i, j), max(i, j), 30) in overlaps(moved)
    position[i, 30, :2] = segments(s)[40].mean(0) + 0.3
    assert (i, 30) in edge_crossings(dataclasses.replace(s, tracks=dataclasses.replace(t, position=position)))


def test_touching_is_exact():
    square = np.array([[1.0, -1], [1, 1], [-1, 1], [-1, -1]])
    turn = np.array([[1.0, 1], [-1, 1]]) / np.sqrt(2)
    diamond = square @ turn.T
    assert touch(square, square + np.array([1.99, 0]))
    assert not touch(square, square + np.array([2.01, 0]))
    # The diamond's point reaches 1.414 to the side, but its flank leaves the square's corner free.
    assert touch(square, diamond + np.array([2.41, 0]))
    assert not touch(square, diamond + np.array([1.8, 1.8]))


@pytest.mark.parametrize("kind", KINDS)
def test_everybody_drives_in_the_direction_of_a_lane(kind):
    for s in logs(kind)[:8]:
        lanes = s.map.lanes.centre
        starts, ends = [], []
        for k in range(len(lanes)):
            starts.append(lanes.line(k)[:-1, :2])
            ends.append(lanes.line(k)[1:, :2])
        a, b = np.concatenate(starts), np.concatenate(ends)
        middle, along = (a + b) / 2, b - a
        agent, step = np.nonzero(s.tracks.valid[:, ::10])
        at, heading = s.tracks.position[agent, step * 10, :2], s.tracks.heading[agent, step * 10]
        towards = np.stack([np.cos(heading), np.sin(heading)], 1)
        cosine = towards @ (along / np.sqrt((along**2).sum(1))[:, None]).T
        x, y = (at[:, None, i] - middle[None, :, i] for i in (0, 1))
        assert ((x * x + y * y < 2.3**2) & (cosine > 0.94)).any(1).all(), s.scenario_id


@pytest.mark.parametrize("kind", KINDS)
def test_motion_is_physical_and_consistent(kind):
    for s in logs(kind):
        t = s.tracks
        both = t.valid[:, 1:] & t.valid[:, :-1]
        speed = np.sqrt((t.velocity**2).sum(-1))
        accelerate = np.diff(speed, axis=1) / s.dt
        assert accelerate[both].min() > -8.3, s.scenario_id
        assert accelerate[both].max() < 3.0, s.scenario_id
        moved = np.diff(t.position[..., :2], axis=1) / s.dt
        assert np.abs(moved - (t.velocity[:, 1:] + t.velocity[:, :-1]) / 2)[both].max() < 0.3, s.scenario_id
        turned = np.angle(np.exp(1j * np.diff(t.heading, axis=1))) / s.dt
        assert np.abs(turned * speed[:, 1:])[both].max() < 4.0, s.scenario_id
        slip = np.angle(np.exp(1j * (np.arctan2(t.velocity[..., 1], t.velocity[..., 0]) - t.heading)))
        assert np.abs(slip[t.valid & (speed > 0.5)]).max() < 1e-3, s.scenario_id


@pytest.mark.parametrize("kind", KINDS)
def test_traffic_flows(kind):
    speeds, counts = [], []
    for s in logs(kind):
        t = s.tracks
        assert (t.type == AgentType.VEHICLE).all()
        assert s.roles.sdc is not None
        assert t.valid[s.roles.sdc].sum() >= 10, s.scenario_id
        speeds.append(np.sqrt((t.velocity[t.valid] ** 2).sum(-1)).mean())
        counts.append(t.valid.sum(0).mean())
    fast = kind in ("highway", "on_ramp", "off_ramp", "lane_drop")
    assert np.mean(speeds) > (17.0 if fast else 2.0)
    assert np.mean(counts) > 8


@pytest.mark.parametrize("kind", KINDS)
def test_the_lane_graph_hangs_together(kind):
    for s in logs(kind)[:10]:
        lanes = s.map.lanes
        line = [lanes.centre.line(k)[:, :2].astype(np.float64) for k in range(len(lanes))]
        angle = [np.unwrap(np.arctan2(*np.diff(xy, axis=0).T[::-1])) for xy in line]
        assert len(lanes.successors) > 0
        for a, b in lanes.successors:
            assert np.abs(line[a][-1] - line[b][0]).max() < 1e-3
            assert np.abs(np.angle(np.exp(1j * (angle[a][-1] - angle[b][0])))) < np.deg2rad(8)
        for k, bends in enumerate(angle):
            assert np.abs(np.diff(bends)).max(initial=0.0) < np.deg2rad(9), (s.scenario_id, k)
        assert {(b, a) for a, b in lanes.left_neighbours.tolist()} == set(map(tuple, lanes.right_neighbours.tolist()))
        for a, b in lanes.left_neighbours:
            k = len(line[a]) // 2
            aside = line[b] - line[a][k]
            nearest = aside[np.argmin((aside**2).sum(1))]
            along = line[a][k + 1] - line[a][k - 1]
            assert cross(along, nearest) > 0  # to the left
            assert np.sqrt((nearest**2).sum()) == pytest.approx(lanes.width[lanes.centre.starts[a]], abs=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_are_complete(kind):
    for s in logs(kind)[:10]:
        lanes = s.map.lanes
        assert lanes.width_known.all()
        assert ((lanes.width >= 3.2) & (lanes.width <= 3.8)).all()
        assert lanes.speed_limit_known.all()
        assert s.tracks.z_known
        assert lanes.centre.z_known
        assert s.tracks.size_known.all()
        assert not s.tracks.position[..., 2].any()
        assert s.source == "generated"
        assert s.notes["kind"] == kind
        assert (len(s.signals.lane) > 0) == (kind in SIGNALS)
        assert (len(s.map.stop_signs.ids) > 0) == kind.endswith("_stop")
        if kind in SIGNALS:
            assert len(s.map.crosswalks) == (4 if kind.startswith("four") else 3)
            ends = [lanes.centre.line(int(k))[-1] for k in s.signals.lane]
            assert s.signals.stop_point == pytest.approx(np.array(ends), abs=1e-4)
        if kind == "roundabout":
            assert (s.map.edges.kind == EdgeType.MEDIAN).sum() == s.notes["arms"] + 1
        validated(s)


@pytest.mark.parametrize("kind", KINDS)
def test_edges_lie_at_the_lanes_limits(kind):
    # Every point of an edge is half a lane from the nearest centreline, or further out (tapers, noses).
    for s in logs(kind)[:5]:
        points, edges = s.map.lanes.centre.points[:, :2], s.map.edges.points[:, :2]
        nearest = np.array([np.sqrt(((points - at) ** 2).sum(1)).min() for at in edges[::3]])
        half = s.notes["width"] / 2
        assert nearest.min() > half - 0.1, s.scenario_id
        assert np.median(nearest) < half + 0.2, s.scenario_id


def arrays(s: Scenario) -> bytes:
    """All that a scenario holds."""

    def flat(value):
        if dataclasses.is_dataclass(value):
            return b"".join(flat(getattr(value, f.name)) for f in dataclasses.fields(value))
        return value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()

    return flat(s)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes(kind):
    first, second, other = (generate(seed, kind, warm_up=15.0, steps=21) for seed in (7, 7, 8))
    assert arrays(first) == arrays(second)
    assert arrays(first) != arrays(other)


def test_generate_many_counts_the_seed_up_and_draws_kinds():
    some = list(generate_many(40, 10, warm_up=15.0, steps=11))
    assert [s.notes["seed"] for s in some] == list(range(40, 50))
    assert len({s.notes["kind"] for s in some}) > 3
    assert arrays(some[3]) == arrays(generate(43, warm_up=15.0, steps=11))
    assert some[0].num_steps == 11


def test_parameters_can_be_fixed():
    s = generate(1, "highway", lanes=3, two_way=False, lateral=0.0, warm_up=15.0, steps=12)
    assert len(s.map.lanes) == 9  # three sections
    assert s.notes["lanes"] == 3
    points = s.map.lanes.centre.line(0)[:, :2].astype(np.float64)
    ends = points[-1] - points[0]
    assert np.abs(cross(ends / np.sqrt((ends**2).sum()), points - points[0])).max() < 1e-3
    assert generate(1, "roundabout", arms=5, warm_up=15.0, steps=12).notes["arms"] == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "moon"}, "expected one of highway"),
        ({"kind": "highway", "arms": 3}, "no parameter arms"),
        ({"kind": "roundabout", "arms": 9}, "arms is 9, expected 3 to 5"),
        ({"kind": "highway", "lanes": "many"}, "lanes is 'many', expected 2 to 5"),
        ({"kind": "highway", "two_way": 1}, "expected True or False"),
        ({"kind": "t_stop", "lanes": [1]}, "expected two of 1 to 2"),
        ({"kind": "t_stop", "control": "none"}, "expected all_way or two_way"),
        ({"kind": "t_stop", "interval": float("nan")}, "interval is nan"),
        ({"kind": "highway", "steps": 5}, "current is step 10 of 5"),
    ],
)
def test_what_cannot_be_made_is_refused(options, words):
    with pytest.raises(InvalidData, match=words):
        generate(0, **options)


def test_a_negative_seed_is_refused():
    with pytest.raises(InvalidData, match="seed is -1"):
        generate(-1)

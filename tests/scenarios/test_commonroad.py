"""CommonRoad: made-up files of both versions against values by hand, hostile files, real ones against plain counts."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from mairl.core.errors import InvalidData
from mairl.scenarios import commonroad
from mairl.scenarios.schema import AgentType, LaneType, LineType, Scenario, SignalState

DATA = next((p / "shared" / "data" for p in Path(__file__).resolve().parents if (p / "shared" / "data").is_dir()), None)
DATA = Path(os.environ["MAIRL_SHARED_DATA"]) if "MAIRL_SHARED_DATA" in os.environ else DATA
FILES = sorted((DATA / "ngsim_commonroad").glob("*.xml")) if DATA else []


def point(x, y):
    return f"<point><x>{x}</x><y>{y}</y></point>"


def exact(tag, value):
    return f"<{tag}><exact>{value}</exact></{tag}>"


def between(tag, low, high):
    return f"<{tag}><intervalStart>{low}</intervalStart><intervalEnd>{high}</intervalEnd></{tag}>"


def state(tag, x, y, step, heading=0.0, rest=""):
    place = f"<position>{point(x, y)}</position>"
    return f"<{tag}>{place}{exact('orientation', heading)}{exact('time', step)}{rest}</{tag}>"


def lanelet(identity, left, right, rest="", marks=("", "")):
    bounds = [
        f"<{tag}>{''.join(point(*p) for p in line)}{f'<lineMarking>{mark}</lineMarking>' if mark else ''}</{tag}>"
        for tag, line, mark in zip(("leftBound", "rightBound"), (left, right), marks)
    ]
    return f'<lanelet id="{identity}">{"".join(bounds)}{rest}</lanelet>'


def straight(identity, y, rest="", marks=("", ""), x=(0.0, 40.0), back=False):
    """A lanelet 4 m wide whose lower bound is at y."""
    upper, lower = ([(at, height) for at in x] for height in (y + 4, y))
    return lanelet(identity, *((lower[::-1], upper[::-1]) if back else (upper, lower)), rest, marks)


RECTANGLE = "<shape><rectangle><length>4.5</length><width>2</width></rectangle></shape>"
PROBLEM = (
    '<planningProblem id="900">'
    + state("initialState", 1, 2, 0, 0, exact("velocity", 3) + exact("yawRate", 0) + exact("slipAngle", 0))
    + f"<goalState>{between('time', 10, 20)}</goalState></planningProblem>"
)


def old_file():
    """2018b: two lanes one way and one back, a car that moves, one whose values are intervals, and a parked circle."""
    lanes = (
        straight(1, 0, '<successor ref="4"/><adjacentLeft ref="2" drivingDir="same"/><speedLimit>13.4112</speedLimit>')
        + straight(2, 4, '<adjacentLeft ref="3" drivingDir="opposite"/><adjacentRight ref="1" drivingDir="same"/>')
        + straight(3, 8, '<adjacentLeft ref="2" drivingDir="opposite"/><successor ref="77"/>', back=True)
        + straight(4, 0, '<predecessor ref="1"/>', x=(40, 50, 60))
    )
    moving = "".join(
        state("state", 10 + step, 2, step, np.pi / 2, exact("velocity", 10 + step)) for step in range(1, 4)
    )
    car = state("initialState", 10, 2, 0, np.pi / 2, exact("velocity", 10))
    region = "<rectangle><length>2</length><width>1</width><center><x>20</x><y>6</y></center></rectangle>"
    ranges = between("orientation", 0.1, 0.3) + exact("time", 2) + between("velocity", -4, -2)
    vague = f"<initialState><position>{region}</position>{ranges}</initialState>"
    parked = state("initialState", 30, 1, 0)
    circle = "<shape><circle><radius>0.5</radius></circle></shape>"
    return (
        '<?xml version="1.0" encoding="utf-8"?><commonRoad benchmarkID="ZAM_Made-1_1_T-1" commonRoadVersion="2018b" '
        f'timeStepSize="0.1" tags="urban comfort">{lanes}'
        f'<obstacle id="11"><role>dynamic</role><type>car</type>{RECTANGLE}{car}'
        f"<trajectory>{moving}</trajectory></obstacle>"
        f'<obstacle id="12"><role>dynamic</role><type>motorcycle</type>{RECTANGLE}{vague}</obstacle>'
        f'<obstacle id="13"><role>static</role><type>pedestrian</type>{circle}{parked}</obstacle>'
        f"{PROBLEM}</commonRoad>"
    )


def new_file():
    """2020a: markings, a stop line with a light and a sign, a crosswalk, a static polygon, and one without speeds."""
    stop = (
        f"<stopLine>{point(40, 0)}{point(40, 4)}<lineMarking>solid</lineMarking>"
        '<trafficLightRef ref="31"/></stopLine><laneletType>urban</laneletType><laneletType>busLane</laneletType>'
        '<trafficSignRef ref="21"/><trafficSignRef ref="22"/><trafficLightRef ref="31"/>'
    )
    lanes = (
        straight(1, 0, stop + '<adjacentLeft ref="2" drivingDir="same"/>', ("dashed", "solid"))
        + straight(2, 4, '<laneletType>interstate</laneletType><trafficLightRef ref="32"/>', ("no_marking", "unknown"))
        + lanelet(3, [(20, -3), (20, 11)], [(23, -3), (23, 11)], "<laneletType>crosswalk</laneletType>")
    )
    signs = (
        '<trafficSign id="21"><trafficSignElement><trafficSignID>274</trafficSignID>'
        "<additionalValue>13.5</additionalValue></trafficSignElement></trafficSign>"
        '<trafficSign id="22"><trafficSignElement><trafficSignID>206</trafficSignID></trafficSignElement>'
        f"<position>{point(41, -1)}</position></trafficSign>"
    )
    colours = "".join(
        f"<cycleElement><duration>{steps}</duration><color>{colour}</color></cycleElement>"
        for steps, colour in ((2, "red"), (1, "redYellow"), (1, "green"), (1, "yellow"))
    )
    lights = (
        f'<trafficLight id="31"><cycle>{colours}<timeOffset>1</timeOffset></cycle></trafficLight>'
        f'<trafficLight id="32"><cycle>{colours}</cycle><direction>left</direction></trafficLight>'
    )
    polygon = f"<shape><polygon>{point(0, 0)}{point(4, 0)}{point(4, 2)}{point(2, 2)}</polygon></shape>"
    parked = state("initialState", 5, 1, 0, np.pi / 2)
    walk = "".join(state("state", 21, -1 + 0.2 * step, step) for step in range(1, 8))
    return (
        '<commonRoad benchmarkID="ZAM_Made-2_1_T-1" commonRoadVersion="2020a" timeStepSize="0.2" date="2026-01-01">'
        "<location><geoNameId>-999</geoNameId><gpsLatitude>48.2</gpsLatitude><gpsLongitude>11.6</gpsLongitude></location>"
        f"<scenarioTags><urban/><intersection/></scenarioTags>{lanes}{signs}{lights}"
        '<intersection id="50"><incoming id="51"><incomingLanelet ref="1"/></incoming></intersection>'
        f'<staticObstacle id="11"><type>parkedVehicle</type>{polygon}{parked}</staticObstacle>'
        f'<dynamicObstacle id="12"><type>pedestrian</type>{RECTANGLE}{state("initialState", 21, -1, 0)}'
        f"<trajectory>{walk}</trajectory></dynamicObstacle>"
        f'<environmentObstacle id="13"><type>building</type>{RECTANGLE}</environmentObstacle>{PROBLEM}</commonRoad>'
    )


def read(content, folder):
    file = folder / "made.xml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = list(commonroad.read(file))
    assert len(found) == 1
    return found[0]


def good(content, folder) -> Scenario:
    found = read(content, folder)
    assert isinstance(found, Scenario), found
    return found


def said(content, folder) -> str:
    found = read(content, folder)
    assert isinstance(found, InvalidData), "it was taken for good"
    assert "\n" not in str(found)
    assert "made.xml" in str(found)
    return str(found)


def world(points, scenario):
    return np.asarray(points, np.float64) + scenario.offset


def lines(group, scenario):
    return {group.ids[k]: world(group.line(k), scenario)[:, :2] for k in range(len(group))}


def test_old_file(tmp_path):
    s = good(old_file(), tmp_path)
    assert (s.scenario_id, s.source, s.dt, s.current) == ("ZAM_Made-1_1_T-1", "commonroad", 0.1, 0)
    assert (s.num_agents, s.num_steps, len(s.map.lanes)) == (3, 4, 4)
    assert s.tracks.type.tolist() == [AgentType.VEHICLE, AgentType.VEHICLE, AgentType.PEDESTRIAN]
    np.testing.assert_array_equal(s.tracks.valid, [[1, 1, 1, 1], [0, 0, 1, 0], [1, 1, 1, 1]])
    np.testing.assert_allclose(world(s.tracks.position[0], s)[:, 0], [10, 11, 12, 13])
    np.testing.assert_allclose(s.tracks.velocity[0, 3], [0, 13], atol=1e-5)
    np.testing.assert_allclose(world(s.tracks.position[1, 2], s), [20, 6, 0], atol=1e-5)
    np.testing.assert_allclose(s.tracks.heading[1, 2], 0.2, rtol=1e-6)
    np.testing.assert_allclose(s.tracks.velocity[1, 2], [-3 * np.cos(0.2), -3 * np.sin(0.2)], rtol=1e-6)
    np.testing.assert_allclose(s.tracks.size[2, 3], [1, 1, 0])
    assert s.tracks.size_known.tolist() == [[True, True, False]] * 3
    assert not s.tracks.z_known
    assert not s.map.lanes.centre.z_known
    np.testing.assert_allclose(s.map.lanes.speed_limit[0], 13.4112)
    assert s.map.lanes.speed_limit_known.tolist() == [True, False, False, False]
    assert s.map.lanes.successors.tolist() == [[0, 3]]
    assert s.map.lanes.left_neighbours.tolist() == [[0, 1]]
    assert s.map.lanes.right_neighbours.tolist() == [[1, 0]]
    np.testing.assert_allclose(s.map.lanes.width, 4)
    np.testing.assert_allclose(world(s.map.lanes.centre.line(2), s)[:, :2], [[40, 10], [0, 10]])
    assert s.notes["references_to_missing_lanelets"] == 1
    assert s.notes["shapes_as_boxes"] == ["13"]
    assert s.notes["tags"] == ["urban", "comfort"]
    assert s.notes["planning_problems"][0]["goalState"]["time"] == {"intervalStart": 10, "intervalEnd": 20}
    assert s.roles.sdc is None


def test_edges_and_lines_of_parallel_lanes(tmp_path):
    s = good(old_file(), tmp_path)
    edges = lines(s.map.edges, s)
    # Below the lower lanes, above the one that leads back, and beside the narrower road that goes on.
    assert set(edges) == {"1.right.0", "3.right.0", "4.left.0", "4.right.0"}
    np.testing.assert_allclose(edges["1.right.0"], [[0, 0], [40, 0]], atol=1e-5)
    np.testing.assert_allclose(edges["3.right.0"], [[40, 12], [0, 12]], atol=1e-5)
    np.testing.assert_allclose(edges["4.left.0"], [[60, 4], [50, 4], [40, 4]], atol=1e-5)
    shared = lines(s.map.lines, s)
    assert set(shared) == {"1.left", "2.left"}
    assert s.map.lines.kind.tolist() == [LineType.UNKNOWN] * 2
    np.testing.assert_allclose(shared["2.left"][:, 1], 8)


def test_bounds_on_the_road_are_no_edges(tmp_path):
    """A lane forks off: near the fork the bounds of both branches lie on the other branch."""
    rest = '<adjacentLeft ref="9" drivingDir="same"/>'  # Names nobody.
    fork = lanelet(2, [(0, 4), (40, 14)], [(0, 0), (40, 10)], rest)
    content = old_file()
    start, stop = content.index("<lanelet"), content.rindex("</lanelet>") + 10
    s = good(content[:start] + straight(1, 0) + fork + content[stop:], tmp_path)
    edges = lines(s.map.edges, s)
    # They part where the branch's right bound, y = x / 4, crosses y = 4: at x = 16.
    assert set(edges) == {"1.left.0", "1.right.0", "2.left.0", "2.right.0"}
    np.testing.assert_allclose(edges["1.right.0"], [[0, 0], [40, 0]], atol=1e-5)
    np.testing.assert_allclose(edges["2.left.0"], [[40, 14], [0, 4]], atol=1e-5)
    assert edges["1.left.0"][0].tolist() == pytest.approx([40, 4])
    assert edges["1.left.0"][-1] == pytest.approx([16, 4], abs=3)
    assert edges["2.right.0"][0] == pytest.approx([16, 4], abs=3)
    assert edges["2.right.0"][-1] == pytest.approx([40, 10])
    for line in edges.values():  # The road is on the left hand: half a metre there lies in a lane.
        step = np.diff(line[:2], axis=0)[0]
        x, y = line[0] + step / 2 + 0.5 * np.array([-step[1], step[0]]) / np.linalg.norm(step)
        assert 0 < y < 4 or 0 < y - x / 4 < 4


def test_new_file(tmp_path):
    s = good(new_file(), tmp_path)
    lanes = s.map.lanes
    assert (s.num_agents, s.num_steps, len(lanes), s.dt) == (2, 8, 3, 0.2)
    assert s.tracks.type.tolist() == [AgentType.VEHICLE, AgentType.PEDESTRIAN]
    # The polygon's box is 4 by 2 around (2, 1) from its origin, which stands turned to the left at (5, 1).
    np.testing.assert_allclose(s.tracks.size[0, 5], [4, 2, 0], rtol=1e-6)
    np.testing.assert_allclose(world(s.tracks.position[0, 5], s), [4, 3, 0], atol=1e-5)
    assert s.tracks.valid.all()
    np.testing.assert_allclose(s.tracks.velocity[1], np.tile([0, 1], (8, 1)), atol=1e-5)
    assert s.notes["velocities_from_positions"] == ["12"]
    assert lanes.centre.kind.tolist() == [LaneType.BUS, LaneType.FREEWAY, LaneType.UNKNOWN]
    assert lanes.left_boundary.tolist() == [LineType.BROKEN_WHITE, LineType.NONE, LineType.UNKNOWN]
    assert lanes.right_boundary.tolist() == [LineType.SOLID_WHITE, LineType.UNKNOWN, LineType.UNKNOWN]
    np.testing.assert_allclose(lanes.speed_limit[0], 13.5)
    assert lanes.speed_limit_known.tolist() == [True, False, False]
    np.testing.assert_allclose(world(s.map.stop_signs.position, s), [[41, -1, 0]])
    assert s.map.stop_signs.ids == ("22",)
    assert s.map.stop_signs.controls.tolist() == [[0, 0]]
    stop, caution, go = SignalState.STOP, SignalState.CAUTION, SignalState.GO
    assert s.signals.lane.tolist() == [0, 1]
    assert s.signals.state[0].tolist() == [caution, stop, stop, stop, go, caution, stop, stop]
    arrows = {stop: SignalState.ARROW_STOP, caution: SignalState.ARROW_CAUTION, go: SignalState.ARROW_GO}
    assert s.signals.state[1].tolist() == [arrows[x] for x in (stop, stop, stop, go, caution, stop, stop, stop)]
    assert s.signals.stop_point_known.tolist() == [True, False]
    np.testing.assert_allclose(world(s.signals.stop_point[0], s), [40, 2, 0])
    assert s.map.crosswalks.ids == ("3",)
    assert len(s.map.crosswalks.line(0)) == 4
    # The crosswalk makes no edges and hides none.
    assert set(s.map.edges.ids) == {"1.right.0", "2.left.0"}
    found = dict(zip(s.map.lines.ids, s.map.lines.kind.tolist()))
    assert found == {"1.left": LineType.BROKEN_WHITE, "1.right": LineType.SOLID_WHITE}
    assert s.notes["tags"] == ["urban", "intersection"]
    assert s.notes["location"]["gpsLatitude"] == 48.2
    assert s.notes["environment_obstacles"] == 1
    assert s.notes["intersections"][0]["incoming"]["incomingLanelet"] == {"ref": "1"}


def test_bounds_of_unlike_lengths_are_matched(tmp_path):
    content = old_file()
    start, stop = content.index("<lanelet"), content.rindex("</lanelet>") + 10
    odd = lanelet(1, [(0, 4), (40, 4)], [(0, 0), (10, 0), (40, 0)])
    s = good(content[:start] + odd + content[stop:], tmp_path)
    np.testing.assert_allclose(world(s.map.lanes.centre.line(0), s)[:, :2], [[0, 2], [20, 2], [40, 2]], atol=1e-5)
    np.testing.assert_allclose(s.map.lanes.width, 4, rtol=1e-6)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_knows_and_reads_encodings(encoding, tmp_path):
    content = new_file().encode(encoding)
    assert commonroad.knows(content[:4096])
    assert good(content, tmp_path).num_agents == 2


def test_knows_no_others():
    for head in (
        b"",
        b"PAR1",
        b'{"name": 1}',
        b"<CommonRoadSolution/>",
        b"<commonRoadSolution id='1'/>",
        b"\x80\x04\x95",
    ):
        assert not commonroad.knows(head)


LAUGHS = '<!DOCTYPE c [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.replace("<commonRoad", LAUGHS + "<commonRoad", 1), "declares a document type"),
        (lambda c: c.replace("<commonRoad", '<!DOCTYPE c SYSTEM "file:///etc/passwd"><commonRoad', 1), "document type"),
        (lambda c: c.replace("<role>", "<role>&b;", 1), "no whole XML"),
        (lambda c: c.replace("<role>", "<a>" * 100 + "<role>", 1), "deep"),
        (lambda c: c.replace("utf-8", "no-such-code", 1), "no whole XML"),
        (lambda c: c[:-20], "no whole XML"),
        (lambda c: "", "no whole XML"),
        (lambda c: c.replace("2018b", "2017a"), "2017a"),
        (lambda c: c.replace("commonRoad", "commonPath"), "commonPath"),
        (lambda c: c.replace('"0.1"', '"x"', 1), "timeStepSize"),
        (lambda c: c.replace('"0.1"', '"0"', 1), "timeStepSize"),
        (lambda c: c.replace('"0.1"', '"60"', 1), "dt is 60"),
        (lambda c: c.replace("<x>11</x>", "<x>north</x>", 1), "obstacle 11: step 1: x is 'north'"),
        (lambda c: c.replace("<x>11</x>", "<x>nan</x>", 1), "obstacle 11: step 1"),
        (lambda c: c.replace("<x>11</x>", "<x>1e12</x>", 1), "obstacle 11: step 1"),
        (lambda c: c.replace("<x>11</x>", "<x>1e7</x>", 1), "tracks.position reaches"),
        (lambda c: c.replace("<exact>11</exact>", "<exact>1e300</exact>", 1), "tracks.velocity"),
        (lambda c: c.replace("<time><exact>3</exact>", "<time><exact>2</exact>", 1), "obstacle 11: step 2 comes twice"),
        (lambda c: c.replace("<time><exact>3</exact>", "<time><exact>-3</exact>", 1), "time is step -3"),
        (lambda c: c.replace("<time><exact>3</exact>", "<time><exact>1e9</exact>", 1), "time is step 1000000000"),
        (lambda c: c.replace("<time><exact>3</exact>", "<time><exact>1999999</exact>", 1), "at most 2000000 states"),
        (lambda c: c.replace('obstacle id="12"', 'obstacle id="11"'), "obstacle 11 comes twice"),
        (lambda c: c.replace('obstacle id="12"', 'obstacle id=" "'), "no attribute id"),
        (lambda c: c.replace("<length>4.5<", "<length>0<", 1), "rectangle is 0"),
        (lambda c: c.replace("<radius>0.5<", "<radius>-1<", 1), "radius of -1"),
        (lambda c: c.replace("circle", "cube"), "holds cube"),
        (lambda c: c.replace(RECTANGLE, "<shape/>", 1), "shape is empty"),
        (lambda c: c.replace("<role>dynamic", "<role>ghost", 1), "role is 'ghost'"),
        (lambda c: c.replace('lanelet id="2"', 'lanelet id="1"'), "lanelet 1 comes twice"),
        (lambda c: c.replace("rightBound", "wrongBound"), "lanelet 1: lanelet has no rightBound"),
        (lambda c: c.replace(point(0.0, 4), "", 1), "lanelet 1: leftBound has 1 points"),
        (lambda c: c.replace('<successor ref="4"/>', "<successor/>"), "successor has no attribute ref"),
        (lambda c: c.replace("<y>0</y>", "<y>9e8</y>", 1), "longer than"),
        (lambda c: c.replace("13.4112", "fast"), "speedLimit is 'fast'"),
        (lambda c: c.replace("13.4112", "-3"), "speed_limit"),
    ],
)  # fmt: skip
def test_old_file_with_a_planted_fault(change, words, tmp_path):
    changed = change(old_file())
    assert changed != old_file()
    assert words in said(changed, tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("<color>green</color>", "<color>pink</color>", "trafficLight 31: color is 'pink'"),
        ("<duration>2</duration>", "<duration>0</duration>", "trafficLight 31: duration is 0"),
        ("<duration>2</duration>", "<duration>1.5</duration>", "trafficLight 31: duration is '1.5'"),
        ("<additionalValue>13.5<", "<additionalValue>fast<", "additionalValue is 'fast'"),
    ],
)
def test_new_file_with_a_planted_fault(before, after, words, tmp_path):
    assert before in new_file()
    assert words in said(new_file().replace(before, after, 1), tmp_path)


def test_a_file_that_is_not_there(tmp_path):
    (found,) = commonroad.read(tmp_path / "absent.xml")
    assert isinstance(found, InvalidData)
    (found,) = commonroad.read(tmp_path)
    assert isinstance(found, InvalidData)


def mutated(content: bytes, rng) -> bytes:
    """A cut, some flipped bits, or elements taken out, doubled, renamed or with another value."""
    how = rng.integers(5)
    if how == 0:
        return content[: rng.integers(len(content))]
    if how == 1:
        changed = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 20)):
            changed[place] ^= 1 << rng.integers(8)
        return bytes(changed)
    text = content.decode()
    if how == 2:
        numbers = [*re.finditer(r">(-?[\d.e]+)<", text)]
        hit = numbers[rng.integers(len(numbers))]
        other = str(
            rng.choice(["", "nan", "-inf", "1e400", "1e308", "-1", "0", "99999999999999999999", "0.5", "x", "1e6"])
        )
        return (text[: hit.start(1)] + other + text[hit.end(1) :]).encode()
    elements = [*re.finditer(r"<(\w+)[^<>/]*>[^<]*</\1>|<\w+ [^<>]*/>|<(\w+)[^<>/]*>(?:<(\w+)>[^<]*</\3>)+</\2>", text)]
    hit = elements[rng.integers(len(elements))]
    new = "" if how == 3 else hit[0] * 2
    return (text[: hit.start()] + new + text[hit.end() :]).encode()


@pytest.mark.parametrize("make", [old_file, new_file])
def test_damaged_files_never_raise(make, tmp_path):
    content, rng = make().encode(), np.random.default_rng(7)
    found = [read(mutated(content, rng), tmp_path) for _ in range(300)]
    bad = sum(isinstance(one, InvalidData) for one in found)
    assert all(isinstance(one, InvalidData | Scenario) for one in found)
    assert 100 < bad < 300


@pytest.mark.skipif(not FILES, reason="no CommonRoad files")
def test_damaged_real_files_never_raise(tmp_path):
    content, rng = min(FILES, key=lambda file: file.stat().st_size).read_bytes(), np.random.default_rng(8)
    found = [read(mutated(content, rng), tmp_path) for _ in range(12)]
    assert all(isinstance(one, InvalidData | Scenario) for one in found)


def hit(pattern: str, text: str) -> re.Match[str]:
    found = re.search(pattern, text, re.S)
    assert found, pattern
    return found


@pytest.mark.skipif(not FILES, reason="no CommonRoad files")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_real_file_against_plain_counts(file):
    text = file.read_text()
    (s,) = commonroad.read(file)
    assert isinstance(s, Scenario), s
    assert commonroad.knows(text[:4096].encode())
    assert s.scenario_id == file.stem
    assert s.dt == 0.1

    obstacles = re.findall(r'<obstacle id="(\d+)">(.*?)</obstacle>', text, re.S)
    times = [[int(t) for t in re.findall(r"<time>\s*<exact>(\d+)</exact>", body)] for _, body in obstacles]
    assert s.tracks.ids == tuple(identity for identity, _ in obstacles)
    assert s.num_steps == 1 + max(map(max, times))
    assert s.tracks.valid.sum(1).tolist() == list(map(len, times))

    number = r"\s*(-?[\d.]+(?:e-?\d+)?)\s*"
    place = rf"<position>\s*<point>\s*<x>{number}</x>\s*<y>{number}</y>"
    first = np.array([hit(place, body).groups() for _, body in obstacles], float)
    np.testing.assert_allclose(world(s.tracks.position[:, 0], s)[:, :2], first, atol=2e-5)
    heading = np.array([hit(rf"<orientation>\s*<exact>{number}<", body)[1] for _, body in obstacles], float)
    np.testing.assert_allclose(np.exp(1j * s.tracks.heading[:, 0]), np.exp(1j * heading), atol=1e-6)
    speed = np.array([hit(rf"<velocity>\s*<exact>{number}<", body)[1] for _, body in obstacles], float)
    np.testing.assert_allclose(np.linalg.norm(s.tracks.velocity[:, 0], axis=1), np.abs(speed), atol=1e-5)
    size = np.array([hit(rf"<length>{number}</length>\s*<width>{number}<", b).groups() for _, b in obstacles], float)
    np.testing.assert_allclose(s.tracks.size[:, 0, :2], size, rtol=1e-6)

    lanelets = re.findall(r'<lanelet id="(\d+)">(.*?)</lanelet>', text, re.S)
    lanes = s.map.lanes
    assert lanes.centre.ids == tuple(identity for identity, _ in lanelets)
    bounds = [
        [
            np.array(re.findall(rf"<x>{number}</x>\s*<y>{number}</y>", part), float)
            for part in hit(r"<leftBound>(.*?)</leftBound>\s*<rightBound>(.*?)</rightBound>", body).groups()
        ]
        for _, body in lanelets
    ]
    widths = np.concatenate([np.hypot(*(left - right).T) for left, right in bounds])
    np.testing.assert_allclose(lanes.width, widths, rtol=1e-5)
    centres = np.concatenate([(left + right) / 2 for left, right in bounds])
    np.testing.assert_allclose(world(lanes.centre.points, s)[:, :2], centres, atol=2e-5)
    limits = sum("<speedLimit>" in body for _, body in lanelets)
    assert lanes.speed_limit_known.sum() == limits
    pairs = {(a, b) for a, body in lanelets for b in re.findall(r'<successor ref="(\d+)"', body)}
    assert {tuple(lanes.centre.ids[k] for k in pair) for pair in lanes.successors} == pairs
    beside = [(a, tag) for a, body in lanelets for tag in re.findall(r"<adjacentLeft [^>]*>", body)]
    left = {(a, hit(r'ref="(\d+)"', tag)[1]) for a, tag in beside if 'drivingDir="same"' in tag}
    assert {tuple(lanes.centre.ids[k] for k in pair) for pair in lanes.left_neighbours} == left

    assert s.notes["planning_problems"][0]["id"] == hit(r'<planningProblem id="(\d+)"', text)[1]
    assert 2 <= len(s.map.edges) < len(lanes)

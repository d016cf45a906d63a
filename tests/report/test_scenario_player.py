"""The page that plays driving logs: what is in it is the log, it stays small, and it plays in a real browser."""

import base64
import dataclasses
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from mairl.core.errors import InvalidData
from mairl.report.scenario_player import HEADING, packed, player_page, whole, write_player
from mairl.report.scenario_scene import Rollout, Scene
from mairl.report.thin import from_segment
from mairl.scenarios import build
from mairl.scenarios.schema import Scenario
from mairl.testing.scenarios import made_scenario

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--enable-logging=stderr"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1200,900"),
]
SCENARIO = made_scenario(1, agents=8)


def unpacked(array) -> np.ndarray:
    content = base64.b64decode(array["data"])
    if array["type"] == "bits":
        count = int(np.prod(array["shape"]))
        flat = np.unpackbits(np.frombuffer(content, np.uint8), count=count, bitorder="little").astype(bool)
    else:
        flat = np.frombuffer(content, np.dtype(array["type"]).newbyteorder("<"))
    return flat.reshape(array["shape"])


def embedded(page: str) -> list[dict]:
    """The scenes that a browser would read from the page."""
    found = re.search(r'<script type="application/json" id="scenes">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found.group(1))


def simulated(scenario: Scenario) -> Scene:
    """The log moved 3 m to its left; one agent is off the road at steps 4 to 6, another reaches its goal."""
    tracks = scenario.tracks
    valid = tracks.valid.copy()
    valid[2, 20:] = False
    flags = {name: np.zeros_like(tracks.valid) for name in ("goal", "offroad")}
    flags["offroad"][1, 4:7] = True
    flags["goal"][2, 15:] = True
    position = tracks.position[..., :2].astype(np.float64) + np.array([0.0, 3.0])
    position[~valid] = np.nan
    return Scene(scenario, Rollout(position, tracks.heading + 2 * np.pi, valid), flags)


def wiggly(agents: int = 100, steps: int = 91, lines: int = 100, points: int = 200, seed: int = 0) -> Scenario:
    """A scene as large as the largest that are recorded; its lines bend so that thinning must keep many points."""
    made, rng = made_scenario(seed, agents, steps), np.random.default_rng(seed)
    along = 0.5 * np.arange(points)
    starts = rng.uniform(-200, 200, (lines, 2))
    across = np.cumsum(rng.normal(0, 0.05, (lines, points)), 1)
    drawn = [np.stack([x + along, y + bend], 1) for (x, y), bend in zip(starts, across)]
    edges = build.polylines(drawn, [str(k) for k in range(lines)], [1] * lines)
    road = dataclasses.replace(made.map, edges=dataclasses.replace(edges, points=edges.points.astype(np.float32)))
    return dataclasses.replace(made, map=road)


def test_the_page_holds_the_log():
    scene = simulated(SCENARIO)
    found = embedded(player_page([scene], step=7))[0]
    tracks, valid = SCENARIO.tracks, SCENARIO.tracks.valid
    assert (found["id"], found["steps"], found["current"], found["start"]) == ("made-1", 30, 10, 7)
    assert found["agents"]["ids"] == list(tracks.ids)
    assert found["agents"]["type"] == tracks.type.tolist()
    assert found["agents"]["sdc"] == 0
    assert found["agents"]["predict"] == list(range(1, 8))
    np.testing.assert_array_equal(unpacked(found["log"]["valid"]), valid)
    position = 0.01 * unpacked(found["log"]["position"])
    np.testing.assert_allclose(position[valid], tracks.position[valid][:, :2], atol=0.00501)
    np.testing.assert_allclose(HEADING * unpacked(found["log"]["heading"])[valid], tracks.heading[valid], atol=1e-4)
    speed = np.hypot(*tracks.velocity[valid].T)
    np.testing.assert_allclose(0.01 * unpacked(found["log"]["speed"])[valid], speed, atol=0.00501)
    np.testing.assert_allclose(0.01 * unpacked(found["agents"]["size"]), tracks.size[:, 0, :2], atol=0.00501)
    assert not unpacked(found["agents"]["guessed"]).any()
    np.testing.assert_array_equal(unpacked(found["signals"]["state"]), SCENARIO.signals.state)
    np.testing.assert_allclose(
        0.01 * unpacked(found["signals"]["place"]), SCENARIO.signals.stop_point[:, :2], atol=0.01
    )
    rollout = scene.rollout
    assert rollout is not None
    np.testing.assert_array_equal(unpacked(found["rollout"]["valid"]), rollout.valid)
    moved = 0.01 * unpacked(found["rollout"]["position"])
    np.testing.assert_allclose(moved[rollout.valid], rollout.position[rollout.valid], atol=0.00501)
    headings = HEADING * unpacked(found["rollout"]["heading"])
    np.testing.assert_allclose(headings[rollout.valid], tracks.heading[rollout.valid], atol=1e-3)
    assert found["events"] == [["offroad", 1, 4, 6], ["goal", 2, 15, 29]]
    np.testing.assert_array_equal(unpacked(found["flags"]["offroad"]), scene.flags["offroad"])


@pytest.mark.parametrize("scenario", [SCENARIO, wiggly(5, 10)])
def test_lines_of_the_map_look_the_same(scenario):
    found, road = embedded(player_page([Scene(scenario)]))[0]["map"], scenario.map
    groups = {"lanes": road.lanes.centre, "edges": road.edges, "lines": road.lines, "crosswalks": road.crosswalks}
    for name, group in groups.items():
        points, starts = 0.01 * unpacked(found[name]["points"]), unpacked(found[name]["starts"])
        assert len(starts) == len(group) + 1
        assert found[name]["kind"] == group.kind.tolist()
        for k in range(len(group)):
            drawn, line = points[starts[k] : starts[k + 1]], group.line(k)[:, :2].astype(np.float64)
            ends = drawn if name == "crosswalks" else drawn[:-1]
            segments = [from_segment(line, a, b) for a, b in zip(ends, np.roll(drawn, -1, axis=0))]
            assert np.min(segments, axis=0).max() <= 0.05
    np.testing.assert_allclose(0.01 * unpacked(found["lanes"]["width"]), 4.0)


def test_a_large_scene_stays_small(tmp_path):
    scenario = wiggly()
    assert len(scenario.map.edges.points) == 20_000
    assert scenario.tracks.valid.shape == (100, 91)
    size = write_player([simulated(scenario)], tmp_path / "large.html")
    assert size == (tmp_path / "large.html").stat().st_size
    assert size < 1.5e6


def test_nothing_is_fetched_and_ids_are_only_text():
    named = dataclasses.replace(SCENARIO, scenario_id="</script><img onerror=alert(1)>")
    page = player_page([Scene(named), Scene(SCENARIO)])
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert not re.search(r"\b(fetch|XMLHttpRequest|import)\b\s*\(", page)
    assert "<img" not in page
    assert [scene["id"] for scene in embedded(page)] == [named.scenario_id, "made-1"]


def test_numbers_take_two_bytes_where_they_fit():
    assert whole(np.array([327.67, -327.67])).dtype == np.int16
    assert whole(np.array([327.68])).dtype == np.int32
    assert unpacked(packed(whole(np.array([1e5])))).tolist() == [10_000_000]
    assert whole(np.array([1e30])).tolist() == [np.iinfo(np.int32).max]
    assert whole(np.zeros((0, 2))).shape == (0, 2)
    flags = np.arange(22).reshape(2, 11) % 3 == 0
    np.testing.assert_array_equal(unpacked(packed(flags)), flags)


@pytest.mark.parametrize(("scenes", "step", "said"), [([], None, "no scenarios"), ([Scene(SCENARIO)], 30, "not 30")])
def test_refusals(scenes, step, said):
    with pytest.raises(InvalidData, match=said):
        player_page(scenes, step)


CHECK = """
<script>
const told = document.body.dataset, sum = (a) => a.reduce((x, y) => x + y, 0), box = canvas.getBoundingClientRect();
const key = (name, more = {}) =>
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, ...more }));
const pointer = (type, x, y) =>
  canvas.dispatchEvent(new PointerEvent(type, { pointerId: 1, clientX: box.left + x, clientY: box.top + y }));
const inked = () => {
  drawScene(context, scene, view, ink, state);
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data, colours = new Set();
  for (let k = 0; k < data.length; k += 4) colours.add(data[k] << 16 | data[k + 1] << 8 | data[k + 2]);
  return (name) => colours.has(parseInt(ink[name].slice(1), 16)) ? "yes" : "no";
};
told.first = told.step;
told.valid = sum(scene.log.valid);
told.places = sum(scene.log.place).toFixed(2);
told.points = sum(scene.map.edges.points).toFixed(2);
let drawn = inked();
told.simulated = drawn("simulated");
told.go = drawn("go");
$("rollout").click();
drawn = inked();
told.switched = drawn("simulated");
told.vehicle = drawn("vehicle");
$("rollout").click();
slider.value = 25;
slider.dispatchEvent(new Event("input"));
told.slid = told.step;
told.later = inked()("go");
key("ArrowLeft"); told.left = told.step;
key("ArrowRight", { shiftKey: true }); told.end = told.step;
key("Home"); told.home = told.step;
told.well = inked()("offroad");
$("event-rows").children[0].click();
told.event = `${told.step} ${told.agent}`;
told.off = inked()("offroad");
const target = pose(scene, scene.rollout, 4, state.time), place = toScreen(view, target.x, target.y);
pointer("pointerdown", ...place); pointer("pointerup", ...place);
told.clicked = told.agent;
key("Escape"); told.released = told.agent;
// Wheel events come at whole pixels.
const wheel = { deltaY: -300, clientX: Math.ceil(box.left) + 100, clientY: Math.ceil(box.top) + 200, cancelable: true };
const under = () => toPlane(view, wheel.clientX - box.left, wheel.clientY - box.top);
const fixed = under(), scale = view.scale;
canvas.dispatchEvent(new WheelEvent("wheel", wheel));
told.zoomed = view.scale > scale && under().every((x, k) => Math.abs(x - fixed[k]) < 1e-6) ? "yes" : "no";
const middle = view.x;
pointer("pointerdown", 300, 500); pointer("pointermove", 340, 500); pointer("pointerup", 340, 500);
told.dragged = Math.abs(middle - view.x - 40 / view.scale) < 1e-9 ? "yes" : "no";
key("]"); told.second = `${told.scenario} ${$("title").textContent}`;
key("[");
key(" "); told.plays = told.playing;
setTimeout(() => { told.moved = state.time > 0 ? "yes" : "no"; }, 1500);
</script>
</body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_plays_in_a_browser(tmp_path):
    scene = simulated(SCENARIO)
    page = player_page([scene, Scene(made_scenario(3))])
    file = tmp_path / "player.html"
    file.write_text(page.replace("</body>", CHECK), encoding="utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path}/profile", "--virtual-time-budget=3000", "--dump-dom"]
    done = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, timeout=280)
    body = re.search(r"<body[^>]*>", done.stdout)
    assert body is not None, done.stderr[-500:]
    assert "Uncaught" not in done.stderr, done.stderr[-1500:]
    told = dict(re.findall(r'data-([a-z]+)="([^"]*)"', body.group(0)))
    raw = embedded(page)[0]
    assert told["ready"] == "yes"
    assert int(told["valid"]) == SCENARIO.tracks.valid.sum()
    assert float(told["places"]) == pytest.approx(0.01 * unpacked(raw["log"]["position"]).sum(dtype=float), abs=0.02)
    assert float(told["points"]) == pytest.approx(
        0.01 * unpacked(raw["map"]["edges"]["points"]).sum(dtype=float), abs=0.02
    )
    expected = {
        **{"first": "0", "simulated": "yes", "go": "no", "switched": "no", "vehicle": "yes"},
        **{"slid": "25", "later": "yes", "left": "24", "end": "29", "home": "0"},
        **{"well": "no", "event": "4 track-1", "off": "yes", "clicked": "track-4", "released": ""},
        **{"zoomed": "yes", "dragged": "yes", "second": "1 made-3", "plays": "yes", "moved": "yes"},
    }
    assert {name: told[name] for name in expected} == expected

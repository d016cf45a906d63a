"""A moment of a driving log as a picture: map, lights, agents."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mairl.report.palette import AGENTS, FLAGS, PALETTE, SIGNALS
from mairl.report.scenario_scene import Scene, boxes, checked, checked_step, corners, light_places, placed
from mairl.scenarios.schema import LineType, Polylines, Scenario

DPI = 100
MARGIN, LEAST = 15.0, 60.0
"""Metres around the traffic, and the least that a picture's side shows."""

TRAIL = 3.0
"""Seconds of the past that are drawn as a line behind each agent."""

LIGHT = {name: colours[0] for name, colours in PALETTE.items()}
POINT = 72 / DPI
"""Matplotlib's points in a pixel."""


@dataclasses.dataclass(frozen=True)
class View:
    """The part of the plane that a picture shows.

    Attributes:
        left, top: metres, of the upper left corner.
        scale: pixels a metre.
        width, height: pixels, both even, as videos need them.
    """

    left: float
    top: float
    scale: float
    width: int
    height: int

    def pixel(self, x: float, y: float) -> tuple[int, int]:
        """Row and column of a place in metres."""
        return int((self.top - y) * self.scale), int((x - self.left) * self.scale)


def view_of(scene: Scene, longest: int = 960) -> View:
    """What shows all the traffic of log and rollout at once; the map's middle where there is none.

    Args:
        longest: pixels of the picture's longer side.
    """
    scenario = scene.scenario
    places = [scenario.tracks.position[scenario.tracks.valid][:, :2]]
    if scene.rollout is not None:
        places.append(np.asarray(scene.rollout.position)[np.asarray(scene.rollout.valid, bool)])
    seen = np.concatenate(places).astype(np.float64)
    if not len(seen):
        seen = scenario.map.lanes.centre.points[:, :2].astype(np.float64)
    low, high = (seen.min(0), seen.max(0)) if len(seen) else (np.zeros(2), np.zeros(2))
    middle, extent = (low + high) / 2, np.maximum(high - low + 2 * MARGIN, LEAST)
    # Neither side is shorter than half the other: a straight road still leaves room to see what lies beside it.
    extent = np.maximum(extent, extent.max() / 2)
    scale = longest / extent.max()
    width, height = (2 * round(side * scale / 2) for side in extent)
    return View(middle[0] - width / scale / 2, middle[1] + height / scale / 2, scale, width, height)


def draw_scene(scene: Scene, step: int | None = None, longest: int = 960) -> UInt8[np.ndarray, "height width 3"]:
    """The picture of one step.

    Agents are boxes with a mark towards their front, in their type's colour; dashed where their size is not known, and
    not drawn where they are not valid. With a rollout, it is the one in colour, and the log is a ghost.

    Args:
        step: by default the scenario's current one.

    Raises:
        InvalidData: no such step, or a rollout or flags that do not fit.
    """
    return next(scene_pictures(scene, [scene.scenario.current if step is None else step], longest))


def scene_pictures(
    scene: Scene, steps: Iterable[int] | None = None, longest: int = 960
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Pictures of several steps, all by default; the map is drawn only once.

    Raises:
        InvalidData: as `draw_scene`.
    """
    scenario = checked(scene).scenario
    chosen = [checked_step(scenario, k) for k in (range(scenario.num_steps) if steps is None else steps)]
    view = view_of(scene, longest)
    figure = Figure(figsize=(view.width / DPI, view.height / DPI), dpi=DPI, facecolor=LIGHT["ground"])
    canvas = FigureCanvasAgg(figure)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    axis.set(
        xlim=(view.left, view.left + view.width / view.scale), ylim=(view.top - view.height / view.scale, view.top)
    )
    for order, artist in enumerate(_map(scenario, view.scale)):
        artist.set_zorder(order)
        axis.add_artist(artist)
    axis.legend(handles=_legend(scene), loc="upper right", fontsize=8, framealpha=0.85, edgecolor=LIGHT["rule"])
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)
    layers = _layers(scene)
    for step in chosen:
        canvas.restore_region(still)
        traffic = (artist for layer in layers for artist in _traffic(layer, step, view.scale))
        for artist in (*_lights(scenario, step), *traffic):
            axis.add_artist(artist)
            axis.draw_artist(artist)
            artist.remove()
        label = axis.text(0.012, 0.985, _caption(scenario, step), transform=axis.transAxes, va="top", fontsize=9)
        axis.draw_artist(label)
        label.remove()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _caption(scenario: Scenario, step: int) -> str:
    seconds = f"{step * scenario.dt:.2f}".rstrip("0").rstrip(".")
    return f"{scenario.scenario_id} ({scenario.source})\nstep {step} of {scenario.num_steps - 1}, {seconds} s"


def _each(lines: Polylines, closed: bool = False) -> list[Float[np.ndarray, "n 2"]]:
    flat = [lines.line(k)[:, :2] for k in range(len(lines))]
    return [np.concatenate([line, line[:1]]) for line in flat] if closed else flat


def _map(scenario: Scenario, scale: float) -> Iterator[LineCollection | PolyCollection | Line2D]:
    """Everything that stands still, lowest first. Widths are in metres, but never less than can be seen."""
    road = scenario.map

    def lines(paths, colour: str, metres: float, least: float, style="solid"):
        width = max(metres * scale, least) * POINT
        if style == "dashed":  # 3 m of paint, 6 m without; matplotlib counts in line widths.
            style = (0, (3 * scale * POINT / width, 6 * scale * POINT / width))
        return LineCollection(paths, colors=LIGHT[colour], linewidths=width, linestyles=style, capstyle="butt")

    centres = _each(road.lanes.centre)
    for k in np.flatnonzero(road.lanes.width_known):
        width = float(np.median(road.lanes.width[road.lanes.centre.starts[k] : road.lanes.centre.starts[k + 1]]))
        yield lines([centres[k]], "road", width, 0.0)
    for group, colour in ((road.driveways, "driveway"), (road.crosswalks, "crosswalk"), (road.speed_bumps, "bump")):
        yield PolyCollection(_each(group), facecolors=LIGHT[colour], edgecolors="none", alpha=0.8)
    yield lines(centres, "lane", 0.12, 0.6)
    paint = _each(road.lines)
    for code in sorted(set(road.lines.kind.tolist()) - {LineType.NONE}):
        name = LineType(code).name
        paths = [paint[k] for k in np.flatnonzero(road.lines.kind == code)]
        colour, width = "yellow" if "YELLOW" in name else "white", 0.4 if "DOUBLE" in name else 0.15
        yield lines(paths, colour, width, 0.7, "dashed" if "BROKEN" in name else "solid")
    yield lines(_each(road.edges), "edge", 0.25, 1.0)
    signs = road.stop_signs.position[:, :2]
    yield _dots(signs, LIGHT["stop"], "8", 7.0)


def _dots(places: Float[np.ndarray, "n 2"], colour: str, marker: str, size: float) -> Line2D:
    x, y = np.asarray(places).reshape(-1, 2).T
    return Line2D(x, y, ls="none", marker=marker, ms=size, mfc=colour, mec=LIGHT["card"], mew=1.0)


def _lights(scenario: Scenario, step: int) -> Iterator[Line2D]:
    places, shown = light_places(scenario)
    names = np.array([SIGNALS[code] for code in scenario.signals.state[:, step]], object)
    for name in dict.fromkeys(SIGNALS):
        yield _dots(places[shown & (names == name)], LIGHT[name], "o", 7.5)


@dataclasses.dataclass(frozen=True)
class _Layer:
    """The log or the rollout, as far as it does not change from step to step."""

    position: Float[np.ndarray, "agent time 2"]
    heading: Float[np.ndarray, "agent time"]
    valid: Bool[np.ndarray, "agent time"]
    size: Float[np.ndarray, "agent 2"]
    guessed: Bool[np.ndarray, " agent"]
    colours: np.ndarray
    flags: dict[str, Bool[np.ndarray, "agent time"]]
    past: int
    faint: float


def _layers(scene: Scene) -> list[_Layer]:
    tracks, rollout = scene.scenario.tracks, scene.rollout
    fixed = (*boxes(scene.scenario), _colours(scene, simulated=False))
    flags = {name: np.asarray(scene.flags[name], bool) for name in FLAGS if name in scene.flags}
    past = round(TRAIL / scene.scenario.dt)
    log = (tracks.position[..., :2], tracks.heading, tracks.valid)
    if rollout is None:
        return [_Layer(*log, *fixed, flags, past, 1.0)]
    motion = (np.asarray(rollout.position), np.asarray(rollout.heading), np.asarray(rollout.valid, bool))
    simulated = _Layer(*motion, *fixed[:2], _colours(scene, simulated=True), flags, past, 1.0)
    return [_Layer(*log, *fixed, {}, past, 0.35), simulated]


def _traffic(layer: _Layer, step: int, scale: float) -> Iterator[LineCollection | PolyCollection]:
    """Trails, boxes and heading marks."""
    there = np.flatnonzero(layer.valid[:, step])
    if not len(there):
        return
    colours, size = list(layer.colours[there]), layer.size[there]
    recent = (there, slice(max(0, step - layer.past), step + 1))
    trails = np.where(layer.valid[recent][..., None], layer.position[recent], np.nan)  # NaN parts a line.
    yield LineCollection(list(trails), colors=colours, linewidths=1.2, alpha=0.35 * layer.faint)
    # Whatever is too small to be seen from so far is drawn larger.
    size = size * np.maximum(1.0, 5.0 / (scale * size.max(1)))[:, None]
    place, angle = layer.position[there, step], layer.heading[there, step]
    outline, widths = np.full(len(there), LIGHT["ink"], object), np.full(len(there), 0.6)
    for name in reversed(layer.flags):
        marked = layer.flags[name][there, step]
        outline[marked], widths[marked] = LIGHT[name], 2.4
    yield PolyCollection(
        list(corners(place, angle, size)),
        facecolors=colours,
        edgecolors=list(outline),
        linewidths=list(widths),
        linestyles=[(0, (2.5, 1.5)) if guess else "solid" for guess in layer.guessed[there]],
        alpha=layer.faint,
    )
    arrow = np.array([[0.42, 0.0], [0.1, 0.3], [0.1, -0.3]]) * size[:, None]
    yield PolyCollection(list(placed(place, angle, arrow)), facecolors=LIGHT["card"], alpha=0.9 * layer.faint)


def _colours(scene: Scene, simulated: bool) -> np.ndarray:
    """Each agent's colour: its type's in the log, one for all in a rollout; the recording vehicle's is its own."""
    names = ["simulated" if simulated else AGENTS[code] for code in scene.scenario.tracks.type]
    if scene.scenario.roles.sdc is not None:
        names[scene.scenario.roles.sdc] = "sdc"
    return np.array([LIGHT[name] for name in names], object)


def _legend(scene: Scene) -> list[Patch]:
    """What there is to see of agents, and no more."""
    present = [AGENTS[code] for code in sorted(set(scene.scenario.tracks.type.tolist()))]
    handles = [Patch(color=LIGHT[name], label=name) for name in present]
    if scene.scenario.roles.sdc is not None:
        handles.append(Patch(color=LIGHT["sdc"], label="recording vehicle"))
    if scene.rollout is not None:
        handles.append(Patch(color=LIGHT["simulated"], label="simulated (log: faint)"))
    marked = [name for name in FLAGS if name in scene.flags]
    return handles + [Patch(facecolor="none", edgecolor=LIGHT[n], linewidth=2, label=FLAGS[n]) for n in marked]

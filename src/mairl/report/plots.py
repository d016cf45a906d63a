"""Plots as inline SVG."""

from __future__ import annotations

import hashlib
import html
import io
import re
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from mairl.metrics.intervals import mean_interval

COLOURS = ("#0b7285", "#e8590c", "#5f3dc4", "#2b8a3e", "#c2255c", "#495057")


def to_svg(figure, title: str) -> str:
    """The figure as an SVG element without a fixed size, transparent, and closed.

    Args:
        title: what screen readers say.
    """
    buffer = io.StringIO()
    with plt.rc_context({"svg.fonttype": "path", "svg.hashsalt": "mairl"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # Several pictures share a page: each gets ids of its own.
    own = hashlib.sha256(text.encode()).hexdigest()[:8]
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{own}-", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)


def curve(rows: list[dict[str, Any]], column: str, label: str, reference: float | None = None) -> str | None:
    """A metric over training: a thin line per seed, their mean, and its 95% interval; None if never measured."""
    x_name = "step" if any(r["step"] for r in rows) else "updates"
    seeds = sorted({r["seed"] for r in rows})
    lines = [[(r[x_name], r[column]) for r in rows if r["seed"] == s and r.get(column) is not None] for s in seeds]
    if not any(lines):
        return None
    figure, axis = plt.subplots(figsize=(5.2, 3.1), layout="constrained")
    for line in lines:
        if line:
            axis.plot(*zip(*line), color=COLOURS[0], lw=0.7, alpha=0.35)
    points = sorted({x for line in lines for x, _ in line})
    at = [np.array([y for line in lines for px, y in line if px == x]) for x in points]
    means = [mean_interval(v) for v in at]
    axis.plot(points, [m for m, _ in means], color=COLOURS[0], lw=2)
    if len(seeds) > 1:
        low = [interval[0] if interval[0] is not None else m for m, interval in means]
        high = [interval[1] if interval[1] is not None else m for m, interval in means]
        axis.fill_between(points, low, high, color=COLOURS[0], alpha=0.2, lw=0)
    if reference is not None:
        axis.axhline(reference, color="#868e96", ls=":", lw=1.2)
        axis.annotate("expert", (points[0], reference), color="#868e96", fontsize=8, va="bottom")
    axis.set_xlabel("environment steps" if x_name == "step" else "updates")
    axis.set_ylabel(label)
    plain(axis)
    return to_svg(figure, f"{label} over training")


def scatter(pairs: list[list[list[float]]], names: tuple[str, ...]) -> str:
    """Recovered against true reward, a panel per agent; equal true rewards are spread a little."""
    figure, axes = plt.subplots(1, len(pairs), figsize=(3.4 * len(pairs), 3.1), squeeze=False, layout="constrained")
    generator = np.random.default_rng(0)
    for axis, points, name in zip(axes[0], pairs, names):
        if points:
            true, found = np.array(points).T
            spread = 0.01 * (np.ptp(true) or 1.0) * generator.standard_normal(len(true))
            axis.plot(true + spread, found, "o", ms=3, alpha=0.35, color=COLOURS[0], mew=0)
        axis.set(title=name, xlabel="true reward")
        plain(axis)
    axes[0][0].set_ylabel("recovered reward")
    return to_svg(figure, "recovered against true reward")


def bars(groups: dict[str, list[float]], labels: list[str], ylabel: str) -> str:
    """Grouped bars: one group per label, one colour per series."""
    figure, axis = plt.subplots(figsize=(max(4.0, 0.75 * len(labels) + 1.5), 2.9), layout="constrained")
    width = 0.8 / max(1, len(groups))
    for k, (name, values) in enumerate(groups.items()):
        axis.bar(
            np.arange(len(labels)) + (k - (len(groups) - 1) / 2) * width, values, width, label=name, color=COLOURS[k]
        )
    axis.set_xticks(np.arange(len(labels)), labels, fontsize=8 if max(map(len, labels)) > 8 else None)
    axis.set_ylabel(ylabel)
    axis.legend(frameon=False, fontsize=8)
    plain(axis)
    return to_svg(figure, f"{ylabel}: {', '.join(groups)}")


def heat_maps(maps: list[tuple[str, np.ndarray]], label: str) -> str:
    """Maps `[y, x]` side by side, each with its own scale (rewards are known up to scale); NaN is left blank."""
    figure, axes = plt.subplots(1, len(maps), figsize=(3.3 * len(maps), 3.1), squeeze=False, layout="constrained")
    for axis, (title, values) in zip(axes[0], maps):
        image = axis.imshow(values, cmap="viridis", interpolation="nearest")
        figure.colorbar(image, ax=axis, shrink=0.8, label=label)
        axis.set(title=title, xticks=[], yticks=[])
    return to_svg(figure, ", ".join(title for title, _ in maps))


def plain(axis) -> None:
    """No frame above and to the right, a faint grid."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.2)

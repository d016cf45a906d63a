"""Pictures of learning from learners: rewards as maps, what is predicted, and what fresh agents become."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from mairl.report.plots import COLOURS, plain, to_svg

LEAST = 1e-20
"""Divergences below this are rounding: they are drawn as a sliver on the axis."""


def reward_map(table: Float[np.ndarray, "state *joint"], agents: int) -> tuple[np.ndarray, str, str]:
    """One agent's reward as a picture `[row, column]`, with what rows and columns are.

    Rewards of states alone: of one agent on a square grid the grid itself; of two agents on cells, by the cell of each.
    Otherwise by state and joint action.
    """
    flat = table.reshape(len(table), -1)
    side = round(len(flat) ** 0.5)
    if side**2 == len(flat) and agents <= 2 and np.ptp(flat, axis=1).max() <= 1e-5 * max(1e-30, np.ptp(flat)):
        picture = flat.mean(axis=1).reshape(side, side)
        return (picture, "", "") if agents == 1 else (picture, "first agent's cell", "second agent's cell")
    return flat, "state", "joint action"


def reward_maps(
    true: Float[np.ndarray, "state *joint agent"], found: Float[np.ndarray, "state *joint agent"], names
) -> str:
    """True and recovered rewards of every agent side by side. Scales differ: rewards are known up to scale."""
    agents = true.shape[-1]
    figure, axes = plt.subplots(agents, 2, figsize=(7.4, 3.2 * agents), squeeze=False, layout="constrained")
    for i in range(agents):
        for axis, title, table in zip(axes[i], ("true", "recovered"), (true, found)):
            picture, rows, columns = reward_map(table[..., i], agents)
            wide = picture.shape[1] > 3 * picture.shape[0] or picture.shape[0] > 3 * picture.shape[1]
            image = axis.imshow(picture, cmap="viridis", interpolation="nearest", aspect="auto" if wide else "equal")
            figure.colorbar(image, ax=axis, shrink=0.85)
            axis.set(title=f"{names[i]}, {title}", xticks=[], yticks=[], ylabel=rows, xlabel=columns)
    return to_svg(figure, "true and recovered rewards")


def divergence_bars(rows: list[tuple[str, dict[str, float | None]]]) -> str:
    """KL of what happened from what was predicted, on a logarithmic scale: a group for each method.

    Args:
        rows: label, and "kl_1a" (true reward), "kl_1b" (recovered), "kl_0" (no change); None is left out.
    """
    shown = {"kl_0": "no change: KL(0)", "kl_1a": "true reward: KL(1a)", "kl_1b": "recovered: KL(1b)"}
    figure, axis = plt.subplots(figsize=(max(4.6, 1.15 * len(rows) + 2.2), 3.2), layout="constrained")
    values = [v for _, row in rows for v in row.values() if v is not None]
    floor = min((v for v in values if v > LEAST), default=LEAST) / 10
    for k, (name, label) in enumerate(shown.items()):
        drawn = [(n, row.get(name)) for n, (_, row) in enumerate(rows)]
        at = [(n, v if v > LEAST else 1.3 * floor) for n, v in drawn if v is not None]
        if at:
            places = np.array([n for n, _ in at]) + (k - 1) * 0.27
            heights = np.array([v for _, v in at])
            axis.bar(places, heights - floor, 0.25, bottom=floor, label=label, color=("#868e96", *COLOURS)[k])
    axis.set_yscale("log")
    axis.set_xticks(range(len(rows)), [label for label, _ in rows], rotation=20 if len(rows) > 3 else 0)
    axis.set_ylabel("nats")
    figure.legend(frameon=False, fontsize=8, loc="outside upper left", ncols=3)
    plain(axis)
    return to_svg(figure, "divergence of held-out policies from what was predicted")


def induced_returns(
    rows: list[tuple[str, float, list[float | None], list[float]]],
    expert: float,
    random: float,
    *,
    learners: str = "exact",
) -> str:
    """What fresh agents earn by the true reward: a point a method with its interval, small ones for the seeds.

    Args:
        rows: label, interquartile mean, interval (in units of return), and each seed's return.
        expert, random: of agents trained on the true reward, and of uniform play.
        learners: of "exact" ones returns are discounted; the expert of "ppo" ones is what they became in the end, of
            "fresh" ones, as of exact ones, who was trained on the true reward.
    """
    figure, axis = plt.subplots(figsize=(5.6, 0.42 * len(rows) + 1.5), layout="constrained")
    for k, (_, mean, interval, seeds) in enumerate(rows):
        axis.plot(seeds, np.full(len(seeds), k), "o", ms=3, alpha=0.4, color=COLOURS[0], mew=0)
        low, high = interval
        if low is not None and high is not None:
            axis.plot([low, high], [k, k], color=COLOURS[0], lw=2)
        axis.plot([mean], [k], "D", ms=6, color=COLOURS[1])
    best = "the learners in the end" if learners == "ppo" else "trained on the true reward"
    for value, label, style in ((expert, best, "--"), (random, "random play", ":")):
        axis.axvline(value, color="#868e96", ls=style, lw=1.2, label=label)
    axis.set_yticks(range(len(rows)), [label for label, *_ in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlabel(f"{'discounted ' if learners == 'exact' else ''}true return, mean of the agents")
    figure.legend(frameon=False, fontsize=8, loc="outside upper left", ncols=2)
    plain(axis)
    return to_svg(figure, "returns of agents trained on recovered rewards")


def matrix(
    values: Float[np.ndarray, "row column"],
    rows: list[str],
    columns: list[str],
    *,
    label: str,
    ylabel: str,
    xlabel: str,
    digits: int = 2,
) -> str:
    """A table of numbers as a picture, each written in its cell; NaN is left blank."""
    figure, axis = plt.subplots(figsize=(1.0 * len(columns) + 2.4, 0.62 * len(rows) + 1.8), layout="constrained")
    image = axis.imshow(values, cmap="viridis", vmin=min(0.0, float(np.nanmin(values))), vmax=float(np.nanmax(values)))
    middle = (float(np.nanmax(values)) + min(0.0, float(np.nanmin(values)))) / 2
    for (r, c), value in np.ndenumerate(values):
        if np.isfinite(value):
            ink = "black" if value > middle else "white"
            axis.text(c, r, f"{value:.{digits}f}", ha="center", va="center", fontsize=8, color=ink)
    axis.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axis.set_yticks(range(len(rows)), rows)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    figure.colorbar(image, ax=axis, shrink=0.85, label=label)
    return to_svg(figure, label)


def lines(
    series: dict[str, list[tuple[float, float, float, float]]],
    *,
    xlabel: str,
    ylabel: str,
    log_y: bool = True,
    log_x: bool = False,
) -> str:
    """Curves by name, points marked, in a band from their lower to their upper bounds: (x, y, lower, upper)."""
    figure, axis = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
    for k, (name, points) in enumerate(series.items()):
        x, y, low, high = zip(*sorted(points))
        axis.fill_between(x, low, high, alpha=0.15, lw=0, color=COLOURS[k % len(COLOURS)])
        axis.plot(x, y, "o-", ms=4, lw=1.6, label=name, color=COLOURS[k % len(COLOURS)])
    if log_y:
        axis.set_yscale("log")
    if log_x:
        axis.set_xscale("log")
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.legend(frameon=False, fontsize=8)
    plain(axis)
    return to_svg(figure, f"{ylabel} by {xlabel}")


def rewards_figure(true, found, names) -> tuple[str, str, str]:
    """Title, SVG and caption of tables of rewards, of the first seed."""
    caption = "True and recovered reward of each agent (first seed); scales differ, and a constant is never told."
    return "Rewards", reward_maps(true, found, names), caption


def weights_figure(facts: dict[str, Any], evaluation: dict[str, Any] | None, names) -> tuple[str, str, str]:
    """Title, SVG and caption of rewards that are linear in a game's features, of the first seed."""
    first, learning = facts["explained"][0], (evaluation or {}).get("learning") or {}
    found = np.asarray(first["weights"])
    true = np.asarray(learning["true_weights"]) if "true_weights" in learning else None
    caption = "What each agent is paid for the game's features (first seed). Only directions can be told, so that each "
    caption += "agent's weights are drawn with length 1."
    return "Rewards", weight_bars(found, true, facts["explained"][0]["feature_names"], names), caption


def weight_bars(
    found: Float[np.ndarray, "agent feature"], true: Float[np.ndarray, "agent feature"] | None, features, names
) -> str:
    """Recovered weights, the true ones beside them where they are known; each agent's with length 1."""
    agents = len(found)
    figure, axes = plt.subplots(
        1,
        agents,
        figsize=(2.6 * agents + 1.2, 0.36 * len(features) + 1.5),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    shown = {"recovered": found} if true is None else {"true": true, "recovered": found}
    places = np.arange(len(features))
    for i, axis in enumerate(axes[0]):
        for k, (label, weights) in enumerate(shown.items()):
            size = float(np.linalg.norm(weights[i])) or 1.0
            at = places + (k - (len(shown) - 1) / 2) * 0.4
            axis.barh(
                at, weights[i] / size, 0.36, label=label, color=COLOURS[1 - k] if true is not None else COLOURS[0]
            )
        axis.axvline(0, color="#868e96", lw=1)
        axis.set(title=names[i], xlim=(-1.05, 1.05))
        plain(axis)
    axes[0][0].set_yticks(places, features)
    axes[0][0].invert_yaxis()
    if true is not None:
        figure.legend(
            *axes[0][0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside upper left", ncols=2
        )
    return to_svg(figure, "weights of the features of rewards")


def run_figures(facts: dict[str, Any], evaluation: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    """Title, SVG and caption of what one run predicts, and of what fresh agents earn."""
    figures = []
    learning = (evaluation or {}).get("learning") or {}
    first = facts["explained"][0]
    if first["kl_0"]:
        kls = {name: float(np.mean(first[name])) for name in ("kl_0", "kl_1b")}
        kls = {name: learning.get(name, kls.get(name)) for name in ("kl_0", "kl_1a", "kl_1b")}
        caption = "Held-out policies: how far they are from what was predicted. "
        caption += "A divergence means something only beside KL(0), the size of the step."
        figures.append(("Prediction", divergence_bars([(facts["algorithm_id"], kls)]), caption))
    if "induced_return" in learning:
        low, high = learning["ci95"]
        gap = learning["expert_return"] - learning["random_return"]
        interval = [None if x is None else learning["random_return"] + x * gap for x in (low, high)]
        seeds = learning["per_seed_induced_return"]
        row = (facts["algorithm_id"], learning["induced_return"], interval, seeds)
        bounds = learning["expert_return"], learning["random_return"]
        drawn = induced_returns([row], *bounds, learners=facts.get("learners", "exact"))
        figures.append(("Induced return", drawn, "Fresh agents that learned from the recovered reward, each seed."))
    return figures


def run_tiles(facts: dict[str, Any], evaluation: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    """Label, number and what it means."""
    first, learning = facts["explained"][0], (evaluation or {}).get("learning") or {}
    ahead = "" if first["look_ahead"] is None else f" λ = {first['look_ahead']:.3g}"
    tiles = [("Learners", first["family"] + ahead, "the family of learners that explains the changes")]
    tiles.append(("Unexplained", f"{first['relative_residual']:.2g}", "share of the fitted changes, squared"))
    if first["skill_1b"] is not None:
        steps = f"{len(first['kl_0'])} held-out transitions; 1 is exact, 0 no better than to expect no change"
        tiles.append(("Skill", f"{first['skill_1b']:.4f}", steps))
    if learning:
        known = [p for p in learning["pearson"] if p is not None]
        if known:
            tiles.append(("Pearson", f"{np.mean(known):.3f}", "recovered with true rewards, mean of agents"))
        if learning.get("induced_return_normalised") is not None:
            best = "the learners in the end" if by_ppo(facts) else "those trained on the true reward"
            meaning = f"of fresh agents; 0 is random play, 1 {best}"
            tiles.append(("Induced return", f"{learning['induced_return_normalised']:.3f}", meaning))
    return tiles


def by_ppo(facts: dict[str, Any]) -> bool:
    """Whether the run explains PPO's updates, not exact learners of a table."""
    return facts.get("learners") == "ppo"


def run_sentences(facts: dict[str, Any], evaluation: dict[str, Any] | None) -> list[str]:
    """What was learned and how far to trust it, in words."""
    first, learning = facts["explained"][0], (evaluation or {}).get("learning") or {}
    # Of PPO the update that began at each snapshot was recorded, the last one's too.
    transitions = facts["snapshots"] - (0 if by_ppo(facts) else 1) - facts["held_out_transitions"]
    said = [
        f"{facts['algorithm_id']} explained {transitions} {'updates' if by_ppo(facts) else 'transitions'} of "
        f"{facts['game']}, {facts['held_out_transitions']} more were only predicted.",
        f"The history tells {' and '.join(map(str, first['rank']))} of the {first['unknowns']} numbers of each agent's "
        "reward.",
    ]
    said += first["notes"]
    if first["skill_1b"] is not None and first["skill_1b"] < 0:
        said.append(
            "Expecting no change predicts better than this explanation: another family of learners was at work."
        )
    if learning.get("skill_1a") is not None and learning["skill_1a"] < 0.5:
        why = "it is their family that is wrong, whatever the reward"
        if by_ppo(facts):
            why = "much of an update hangs on what was not observed, such as critics, whatever the reward"
        said.append(
            f"Even with the true reward these learners predict little (skill {learning['skill_1a']:.2f}): {why}."
        )
    if "why" in learning:
        said.append(f"The induced return is not normalised: {learning['why']}.")
    fresh = first.get("induced") != 0
    said.append(
        "The policies of this run are those of fresh agents that learned from the recovered reward."
        if fresh
        else "The policies of this run are the learners' last ones: no fresh agents learned from the recovered reward."
    )
    if not learning:
        said.append("Not evaluated yet: mairl evaluate holds the rewards against the true ones.")
    return said

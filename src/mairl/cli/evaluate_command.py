"""`mairl evaluate RUN`."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import tyro

from mairl.cli.output import emit, finite
from mairl.core.policy import DiscretePolicy
from mairl.games import make_game
from mairl.games.recorded import RecordedGame
from mairl.metrics.evaluate import evaluate, expert_of, load_demos, read_run


def evaluate_run(run: Path, episodes: int = 1000, seed: int = 0) -> dict:
    """Measures a run, writes `evaluation.json` into it and returns it."""
    facts, learned = read_run(run)
    data = load_demos(facts)
    name = facts.get("game", "none")
    if name in ("none", "") and data is not None:
        game = RecordedGame.of(data)
    else:
        game = make_game(name)
    expert = expert_of(facts.get("demos"))
    policy = expert.policy if expert is not None and isinstance(expert.policy, DiscretePolicy) else None
    greedy = data is not None and "greedy" in data.metadata.source
    result = evaluate(
        learned, len(facts["seeds"]), game, data, policy, episodes=episodes, expert_greedy=greedy, seed=seed
    )
    result = finite(
        {"run": str(run), "algorithm": facts.get("algorithm_id"), "game": name, "seeds": facts["seeds"], **result}
    )
    (run / "evaluation.json").write_text(jsonlib.dumps(result, indent=1))
    return result


def lines_of(result: dict) -> list[str]:
    """The evaluation for people."""
    lines = [f"{result['run']}: {result['algorithm']} on {result['game']}, {len(result['seeds'])} seed(s)"]
    returns = result.get("returns") or {}
    for kind in ("sampled", "greedy", "expert"):
        if kind in returns:
            one = returns[kind]
            lines.append(f"  return, mean per agent, {kind}: {_shown(one['mean'], one['ci95'])}")
    if "share_of_expert" in returns:
        one = returns["share_of_expert"]
        lines.append(f"  share of the expert: {_shown(one['mean'], one['ci95'])}")
    for name, value in (result.get("behaviour") or {}).items():
        if "mean" in value:
            lines.append(f"  {name.replace('_', ' ')}: {_shown(value['mean'], value['ci95'])}")
        else:
            kl, differ = value["kl"], value["disagreement"]
            lines.append(
                f"  {name.replace('_', ' ')}: KL {_shown(kl['mean'], kl['ci95'])}, disagreement {differ['mean']:.3f}"
            )
    reward = result.get("reward") or {}
    for kind in ("induced_reward", "reward", "shaped_reward"):
        for i, one in enumerate(reward.get(kind, [])):
            pearson, spearman = one["pearson"]["mean"], one["spearman"]["mean"]
            shown = "constant" if pearson is None else f"Pearson {pearson:.3f}, Spearman {spearman:.3f}"
            lines.append(f"  {kind.replace('_', ' ')}, agent {i}: {shown}")
    lines += [f"  {s}" for s in (result.get("identifiability") or {}).get("sentences", [])[2:]]
    return lines


def _shown(mean, interval) -> str:
    if mean is None:
        return "–"
    return f"{mean:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval and interval[0] is not None else "")


def command(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    episodes: int = 1000,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Measures a run and refreshes its report.

    Args:
        run: the RUN.
        episodes: per seed and way of acting (sampled, greedy).
        seed: of the episodes.
        json: print one JSON object.
    """
    result = evaluate_run(run, episodes, seed)
    from mairl.report.html import write_report

    page = write_report(run)
    emit({**result, "report": str(page)}, json, [*lines_of(result), f"  report: {page}"])


def main(argv: list[str]) -> None:
    """Parses and runs."""
    tyro.cli(command, args=argv, prog="mairl evaluate")

"""`mairl evaluate RUN`."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import tyro

from mairl.cli.output import emit, finite, with_interval
from mairl.cli.run_game import check_plays, game_or_recording, told
from mairl.core.errors import InvalidData, Unsupported
from mairl.core.policy import DiscretePolicy
from mairl.core.stacked import one_of
from mairl.metrics.evaluate import evaluate, expert_of, load_demos, read_run
from mairl.metrics.exploitability import trained
from mairl.recipes.experts import recipe_for


def evaluate_run(
    run: Path, episodes: int = 1000, seed: int = 0, gap_steps: int = 0, name: str = "", demos: Path | None = None
) -> dict:
    """Measures a run, writes `evaluation.json` into it and returns it.

    Args:
        gap_steps: environment steps of training for each best response; 0 leaves exploitability out (but for tables,
            where it is exact).
        name: the game to measure in, if not the one that the run names.
        demos: what it learned from, if not where the run says.
    """
    if seed < 0:
        raise Unsupported(f"seed must be at least 0, got {seed}")
    facts, learned = read_run(run)
    facts = told(facts, name, demos)
    data = load_demos(facts)
    game = game_or_recording(run, facts, data)
    if name and game.pure:
        check_plays(run, one_of(learned.policy, 0), game, name)
    name = facts.get("game") or "none"
    expert = expert_of(facts.get("demos"))
    policy = expert.policy if expert is not None and isinstance(expert.policy, DiscretePolicy) else None
    greedy = data is not None and "greedy" in data.metadata.source
    seeds = len(facts["seeds"])
    result = evaluate(
        learned,
        seeds,
        game,
        data,
        policy,
        episodes=episodes,
        expert_greedy=greedy,
        held_out=facts.get("held_out"),
        discount=facts.get("discount", facts["algorithm"]["config"].get("discount", 0.97)),
        seed=seed,
    )
    if "history" in facts:
        from mairl.metrics.explained_run import explained_run

        result["learning"] = explained_run(facts, learned)
    if gap_steps and "exploitability" not in result:
        if not game.pure:
            raise Unsupported(f"exploitability trains agents in the game, and {name} cannot be played on the device")
        best = recipe_for(name).algorithm
        result["exploitability"] = trained(game, learned, seeds, best, gap_steps)
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
    behaviour = result.get("behaviour") or {}
    if behaviour:
        where = "held-out" if behaviour["held_out"] else "training"
        for name in ("log_likelihood", "disagreement"):
            value = behaviour[name]
            lines.append(f"  {name.replace('_', '-')} on {where} steps: {_shown(value['mean'], value['ci95'])}")
    for name in ("on_expert_states", "on_learner_states"):
        if name in behaviour:
            kl, differ = behaviour[name]["kl"], behaviour[name]["disagreement"]
            disagreement = _shown(differ["mean"], None)
            lines.append(
                f"  {name.replace('_', ' ')}: KL {_shown(kl['mean'], kl['ci95'])}, disagreement {disagreement}"
            )
    reward = result.get("reward") or {}
    for kind in ("induced_reward", "reward", "shaped_reward"):
        for i, one in enumerate(reward.get(kind, [])):
            if one["pearson"]["mean"] is None:
                shown = "constant"
            else:
                measures = {"Pearson": "pearson", "Spearman": "spearman", "EPIC": "epic", "STARC": "starc"}
                shown = ", ".join(f"{label} {_shown(one[key]['mean'], None)}" for label, key in measures.items())
            lines.append(f"  {kind.replace('_', ' ')}, agent {i}: {shown}")
    driven = result.get("driving") or {}
    for name, one in driven.items():
        if isinstance(one, dict):
            lines.append(f"  {name.replace('_', ' ')}: {_shown(one['mean'], one['ci95'])}")
    lines += _learning_lines(result.get("learning") or {})
    gap = result.get("exploitability")
    if gap:
        lines.append(f"  exploitability ({gap['kind']}): {_shown(gap['nash_gap']['mean'], gap['nash_gap']['ci95'])}")
    lines += [f"  {s}" for s in (result.get("identifiability") or {}).get("sentences", [])[2:]]
    return lines


def _learning_lines(learning: dict) -> list[str]:
    """How far an explanation of learning agents goes."""
    if not learning:
        return []
    lines = []
    for name, what in (("skill_1b", "the recovered reward"), ("skill_1a", "the true reward")):
        if learning.get(name) is not None:
            lines.append(f"  skill on held-out transitions, with {what}: {learning[name]:.4f}")
    for i, (one, direction) in enumerate(zip(learning["pearson"], learning["cosines"])):
        line = f"  rewards, agent {i}: Pearson {_shown(one, None)}"
        lines.append(line + (f", cosine of the weights {direction:.6f}" if direction is not None else ""))
    if "induced_return" not in learning:
        return lines
    discounted, best = ", discounted", "trained on the true reward"
    if not learning.get("discounted", True):
        discounted, best = "", "the learners in the end"
    lines.append(
        f"  induced return{discounted}: {learning['induced_return']:.3f} ({best} "
        f"{learning['expert_return']:.3f}, random {learning['random_return']:.3f}), normalised "
        f"{_shown(learning['induced_return_normalised'], learning['ci95'])}"
    )
    return lines + ([f"  {learning['why']}"] if "why" in learning else [])


def _shown(mean, interval) -> str:
    return with_interval(mean, interval, 3)


def command(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    episodes: int = 1000,
    seed: int = 0,
    exploitability: int = 0,
    game: str = "",
    demos: Path | None = None,
    json: bool = False,
) -> None:
    """Measures a run and refreshes its report.

    Args:
        run: the RUN.
        episodes: per seed and way of acting (sampled, greedy).
        seed: of the episodes.
        exploitability: steps for which a best response to each agent's partners is trained, for every seed; 0: none.
        game: id and options of the game to measure in, if the run names none.
        demos: the recording that it learned from, if it is not where the run says.
        json: print one JSON object.
    """
    if exploitability < 0:
        raise InvalidData(f"--exploitability is {exploitability} steps, expected 0 or more")
    result = evaluate_run(run, episodes, seed, exploitability, game, demos)
    from mairl.report.html import write_report

    page = write_report(run)
    emit({**result, "report": str(page)}, json, [*lines_of(result), f"  report: {page}"])


def main(argv: list[str]) -> None:
    """Parses and runs."""
    tyro.cli(command, args=argv, prog="mairl evaluate")

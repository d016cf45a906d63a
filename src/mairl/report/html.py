"""A run's page: self-contained, made to be looked at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader

from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import DiscretePolicy
from mairl.core.stacked import one_of
from mairl.games import make_game
from mairl.games.tabular.game import TabularGame
from mairl.games.tabular.reward import TabularReward
from mairl.metrics.evaluate import load_demos, read_json, read_run
from mairl.report import learning, plots
from mairl.report.animate import as_data_url, episode_states, frames


def write_report(run: Path) -> Path:
    """Writes `report.html` into a run; with figures of `evaluation.json` if the run has been evaluated."""
    facts, learned = read_run(run)
    rows = pq.read_table(run / "metrics.parquet").to_pylist()
    evaluated = run / "evaluation.json"
    evaluation = read_json(evaluated, "evaluate again") if evaluated.exists() else None
    name = facts.get("game", "none")
    game = make_game(name) if name not in ("none", "") else None
    page = _template("run.html").render(
        facts=facts,
        config=json.dumps(facts["algorithm"]["config"], indent=1),
        evaluation=evaluation,
        **said(facts, rows, evaluation, game, learned),
        rewards=reward_plots(evaluation, game, learned),
        behaviour=behaviour_plots(facts, game, learned),
        episode=episode(game, learned),
    )
    path = run / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def write_episode(
    pictures: list[np.ndarray], paid: np.ndarray | None, names: Sequence[str], path: Path, title: str, lead: str
) -> None:
    """Writes a page that plays one episode.

    Args:
        pictures: of each state, `[time+1]`.
        paid: true rewards `[time, agent]`, if they are known.
        names: of the agents.
        path: of the page.
        title, lead: what stands above it.
    """
    kept = shown_states(len(pictures))
    shown = player([pictures[k] for k in kept], kept, paid, names)
    path.write_text(_template("episode.html").render(episode=shown, title=title, lead=lead), encoding="utf-8")


def _template(name: str):
    return Environment(autoescape=True, loader=PackageLoader("mairl.report")).get_template(name)


def said(facts, rows, evaluation, game: MarkovGame | None, learned: Learned) -> dict[str, Any]:
    """Headline, sentences and figures: of learning from recordings, or from learners."""
    if "history" not in facts:
        return {
            "headline": headline(facts, rows, evaluation),
            "sentences": sentences(facts, rows, evaluation),
            "curves": curves(rows, evaluation),
            "figures": [],
        }
    assert game is not None
    drawn = []
    if isinstance(game, TabularGame) and isinstance(learned.reward, TabularReward):
        true, found = game.tables().reward, np.asarray(learned.reward.table[0], np.float64)
        drawn.append(learning.rewards_figure(true, found, game.agent_names()))
    elif facts["explained"][0]["weights"] is not None:
        drawn.append(learning.weights_figure(facts, evaluation, game.agent_names()))
    return {
        "headline": learning.run_tiles(facts, evaluation),
        "sentences": learning.run_sentences(facts, evaluation),
        "curves": [],
        "figures": drawn + learning.run_figures(facts, evaluation),
    }


def shown(value: float | None, interval=None, digits: int = 2) -> str:
    """A number with its interval, as people read it."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    if interval and interval[0] is not None:
        text += f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
    return text


def headline(facts, rows, evaluation) -> list[tuple[str, str, str]]:
    """Label, number and what it means."""
    tiles = []
    if evaluation and "returns" in evaluation:
        sampled = evaluation["returns"]["sampled"]
        text = f"mean per agent over {sampled['episodes']:,} episodes a seed, actions sampled"
        tiles.append(("Return", shown(sampled["mean"], sampled["ci95"]), text))
        share = evaluation["returns"].get("share_of_expert")
        if share:
            expert = evaluation["returns"]["expert"]["mean"]
            tiles.append(
                ("Share of the expert", shown(share["mean"], share["ci95"], 3), f"the expert has {expert:.2f}")
            )
    else:
        last = [r["return/agent_mean"] for r in rows if r.get("return/agent_mean") is not None][-len(facts["seeds"]) :]
        if last:
            tiles.append(("Return", shown(float(np.mean(last))), "mean per agent, last evaluation of each seed"))
    behaviour = (evaluation or {}).get("behaviour")
    if behaviour:
        fit = behaviour["log_likelihood"]
        where = "held-out" if behaviour["held_out"] else "training"
        tiles.append(
            ("Likelihood", shown(fit["mean"], fit["ci95"]), f"nats per action of {where} episodes (0 is certain)")
        )
        if "on_learner_states" in behaviour:
            kl = behaviour["on_learner_states"]["kl"]
            tiles.append(
                ("Behavioural error", shown(kl["mean"], kl["ci95"], 3), "KL(expert ‖ learned), where it goes itself")
            )
    reward = (evaluation or {}).get("reward")
    if reward and "headline" in reward:
        values = [a["epic"]["mean"] for a in reward[reward["headline"]] if a["epic"]["mean"] is not None]
        if values:
            face = reward["headline"].replace("_", " ")
            text = f"EPIC distance of the {face} from the true one: 0 is equal, 0.71 unrelated"
            tiles.append(("Reward distance", shown(float(np.mean(values))), text))
    gap = (evaluation or {}).get("exploitability")
    if gap:
        tiles.append(("Nash gap", shown(gap["nash_gap"]["mean"], gap["nash_gap"]["ci95"]), gap["kind"]))
    return tiles


def sentences(facts, rows, evaluation) -> list[str]:
    """What was learned and how far to trust it, in words."""
    seeds = facts["seeds"]
    said = [
        f"{facts['algorithm']['name']} learned from {facts.get('demo_steps', 0):,} joint steps of "
        f"{facts.get('game', 'a recording')}, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}."
    ]
    if len(seeds) < 10:
        said.append(f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}: read intervals with care; claims want ten.")
    said += [
        f"Seed {f['seed']} was frozen at step {f['step']:,}: {f['quantity']} was not finite." for f in facts["failures"]
    ]
    rule = "its held-out likelihood was best" if facts.get("select") == "heldout" else "training ended"
    said.append(f"Each seed's result is the one where {rule}; the true reward selects nothing.")
    reward = (evaluation or {}).get("reward") or {}
    for i, one in enumerate(reward.get(reward.get("headline", ""), [])):
        unexplained = one["unexplained"]["mean"]
        if one["found_constant"]:
            said.append(f"Agent {i}'s recovered reward is constant: nothing was recovered.")
        elif unexplained is not None and unexplained > 0.8:
            said.append(
                f"Agent {i}'s recovered reward explains {100 * (1 - unexplained):.0f}% of the true one's variance, "
                "step by step. EPIC and STARC allow for shaping; mairl transfer tells whether fresh agents can learn "
                "from it. Do not read single payments as the truth."
            )
        free = one["identifiable"]["mean"]
        if free is not None and free < 0.3:
            said.append(
                f"Shaping alone could explain {100 * (1 - free):.0f}% of the variance of agent {i}'s true reward on "
                "these steps: payments at single steps are hardly identifiable in this game."
            )
    if evaluation:
        said += evaluation.get("identifiability", {}).get("sentences", [])
    else:
        said.append("Not evaluated yet: mairl evaluate adds returns over 1,000 episodes, behaviour and rewards.")
    return said


def curves(rows, evaluation) -> list[tuple[str, str]]:
    """Title and SVG of everything that was measured over training."""
    expert = None
    if evaluation:
        expert = (evaluation.get("returns", {}).get("expert") or {}).get("mean")
    wanted = [
        ("return/agent_mean", "return, mean per agent", expert),
        ("heldout_log_likelihood", "held-out, nats", None),
    ]
    fixed = {"seed", "evaluation", "step", "updates", "episodes", "wall_s"}
    others = [n for n in rows[0] if n not in fixed and not n.startswith(("return/", "heldout"))]
    wanted += [(n, n.replace("_", " "), None) for n in others]
    drawn = [(label, plots.curve(rows, column, label, reference)) for column, label, reference in wanted]
    return [(label, svg) for label, svg in drawn if svg is not None]


def reward_plots(evaluation, game: MarkovGame | None, learned: Learned) -> dict[str, Any]:
    """Recovered against true reward, as far as it was evaluated; a heat map where the game is a grid."""
    result: dict[str, Any] = {}
    reward = (evaluation or {}).get("reward") or {}
    if "pairs" in reward and game is not None:
        result["scatter"] = plots.scatter(reward["pairs"], game.agent_names())
        result["pays"] = reward["pays"]
        result["distances"] = {k: reward[k] for k in ("induced_reward", "reward", "shaped_reward") if k in reward}
        result["names"] = game.agent_names()
    if game is not None and game.pure and learned.reward is not None:
        maps = grid_maps(game, learned)
        if maps:
            result["maps"] = plots.heat_maps(maps, "mean reward at the cell")
    return result


def grid_maps(game: MarkovGame, learned: Learned, episodes: int = 64) -> list[tuple[str, np.ndarray]]:
    """True and recovered reward by the first agent's cell after the step, in games whose state has cells."""
    reward = learned.induced_reward or learned.reward
    first = one_of((learned.policy, reward), 0)
    from mairl.data.collect import play_compiled
    from mairl.networks.rewards import reward_of

    played = play_compiled(game, first[0], jax.random.key(11), episodes)
    steps = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), played.steps)
    cells = getattr(steps.next_state, "agents", getattr(steps.next_state, "position", None))
    if cells is None or cells.ndim != 3 or cells.shape[-1] != 2 or not jnp.issubdtype(cells.dtype, jnp.integer):
        return []
    seen = _observed(game, steps)
    found = reward_of(first[1], seen)
    alive, where = np.asarray(seen.mask[:, 0]), np.asarray(cells[:, 0])
    width, height = where[alive].max(0) + 1
    maps = []
    for title, values in (("true", np.asarray(seen.reward)[:, 0]), ("recovered", np.asarray(found[:, 0]))):
        total, count = np.zeros((height, width)), np.zeros((height, width))
        np.add.at(total, (where[alive, 1], where[alive, 0]), values[alive])
        np.add.at(count, (where[alive, 1], where[alive, 0]), 1)
        maps.append((f"{game.agent_names()[0]}, {title}", np.where(count > 0, total / np.maximum(count, 1), np.nan)))
    return maps


@eqx.filter_jit
def _observed(game: MarkovGame, steps):
    from mairl.core.transition import observe

    return observe(game, steps)


@eqx.filter_jit
def _chances(policies, steps):
    """`[step, agent, action]` mean over seeds of what the policies would do."""
    each = eqx.filter_vmap(lambda p: jax.vmap(p.log_probs)(steps.obs, steps.action_mask))(policies)
    return jnp.mean(jnp.exp(each), axis=0)


def behaviour_plots(facts, game: MarkovGame | None, learned: Learned) -> list[tuple[str, str]]:
    """How often each action is taken: recorded, and by the learned policy in the same situations."""
    data = load_demos(facts)
    if data is None or game is None or not game.pure or not isinstance(learned.policy, DiscretePolicy):
        return []
    index = jnp.asarray(np.random.default_rng(0).permutation(data.num_steps)[:2048])
    steps = _observed(game, data.transition(index))
    learned_share = np.asarray(_chances(learned.policy, steps))
    actions, mask = np.asarray(steps.actions), np.asarray(steps.mask)
    names = list(game.action_names())
    drawn = []
    for i, agent in enumerate(game.agent_names()):
        taken = np.bincount(actions[mask[:, i], i], minlength=len(names)) / max(1, mask[:, i].sum())
        ours = learned_share[mask[:, i], i].mean(0)
        shares, labels = most_taken(np.stack([taken, ours]), names)
        groups = {"recorded": shares[0].tolist(), "learned": shares[1].tolist()}
        drawn.append((agent, plots.bars(groups, labels, "share of steps")))
    return drawn


def most_taken(shares: np.ndarray, names: Sequence[str], most: int = 12) -> tuple[np.ndarray, list[str]]:
    """`[row, action]` of at most `most` actions, in their order: where there are more, those with the largest shares,
    and all others as one."""
    if len(names) <= most:
        return shares, list(names)
    kept = np.sort(np.argsort(-shares.max(axis=0), kind="stable")[: most - 1])
    rest = np.delete(shares, kept, axis=1).sum(axis=1, keepdims=True)
    return np.concatenate([shares[:, kept], rest], axis=1), [*(names[int(k)] for k in kept), "others"]


def episode(game: MarkovGame | None, learned: Learned) -> dict[str, Any] | None:
    """One sampled episode of the first seed's policy: pictures and each step's true reward."""
    if game is None or not game.pure:
        return None
    policy = one_of(learned.policy, 0)
    states, paid = episode_states(game, policy)
    count = jax.tree.leaves(states)[0].shape[0]
    kept = shown_states(count)
    return player(frames(game, jax.tree.map(lambda x: x[kept], states)), kept, paid, game.agent_names())


def shown_states(count: int, most: int = 120) -> np.ndarray:
    """Which of an episode's states a page shows, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def player(
    pictures: list[np.ndarray], steps: np.ndarray, paid: np.ndarray | None, names: Sequence[str]
) -> dict[str, Any]:
    """What `player.html` plays: pictures of these steps, and what each agent was paid until then, if it is known."""
    total = None if paid is None else np.concatenate([np.zeros((1, paid.shape[1])), np.cumsum(paid, axis=0)])[steps]
    return {
        "frames": [as_data_url(p) for p in pictures],
        "steps": steps.tolist(),
        "paid": None if total is None else total.round(2).tolist(),
        "names": list(names),
    }

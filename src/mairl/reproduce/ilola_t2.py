"""T2 of the I-LOLA poster with a sound protocol: PPO learners in Simple Spread.

For each seed three agents learn by PPO, each with networks of its own. Of what they do after the first updates, eight
updates are fitted and the next four are only predicted (see `mairl.reproduce.ilola_ppo` for KL(1a) and KL(1b)). Induced
return: fresh agents trained by PPO on the recovered reward, for the same time as experts on the true one, and paid the
true one in the end. It is normalised only where the experts are clearly above chance; else the row says why not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mairl.algorithms.explain_ppo import Case, linear, make_case, to_learn_from
from mairl.algorithms.ppo import PPO
from mairl.algorithms.ppo_paid import PaidPPO, Payment
from mairl.algorithms.ppo_record import PPORecord, record_ppo
from mairl.algorithms.settings import plain
from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame
from mairl.core.policy import Policy, UniformPolicy
from mairl.core.serialise import load_module, save_module
from mairl.data.collect import play, play_compiled, play_episodes, reset
from mairl.games.simple_spread.game import SimpleSpread
from mairl.metrics.learning import interquartile_mean, normalised_return, skill
from mairl.networks.build import NetworkConfig
from mairl.reproduce.ilola import where
from mairl.reproduce.ilola_experts import below_chance
from mairl.reproduce.ilola_ppo import ROWS, grow, measure, true_weights
from mairl.reproduce.told import told

LEARNER = PPO(
    num_envs=32,
    num_steps=25,
    minibatches=4,
    epochs=4,
    learning_rate=1e-3,
    discount=0.95,
    network=NetworkConfig(kind="mlp", width=64, depth=2, activation="tanh"),
)
SKIPPED, FITTED, HELD_OUT = 40, 8, 4
"""Updates before the history begins, updates that are fitted, and updates that are only predicted."""

INDUCED_UPDATES = 250
EPISODES = 500


def make_cases(seeds: int, learner: PPO = LEARNER, skipped: int = SKIPPED) -> tuple[SimpleSpread, list[Case]]:
    """Recorded learners, one history a seed, and their game."""
    game = SimpleSpread()
    steps = FITTED + HELD_OUT
    records = [_recorded(learner, game, jax.random.key(seed), skipped, steps) for seed in range(seeds)]
    return game, [make_case(learner, record, range(FITTED, steps), seed) for seed, record in enumerate(records)]


@eqx.filter_jit
def _recorded(learner: PPO, game: MarkovGame, key, skip: int, steps: int) -> PPORecord:
    return record_ppo(learner, game, key, skip=skip, steps=steps)


def trained(ppo: PPO, game: MarkovGame, payments: list[Payment], seeds: list[int], updates: int) -> Policy:
    """Joint policies of fresh PPO agents, each set trained on a reward of its own; leaves `[seed, ...]`."""
    stacked = jax.tree.map(lambda *x: jnp.stack(x) if eqx.is_array(x[0]) else x[0], *payments)
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    return _trained(ppo, game, stacked, keys, updates)


@eqx.filter_jit
def _trained(ppo: PPO, game: MarkovGame, payments, keys, updates: int) -> Policy:
    def one(payment, key):
        paid = PaidPPO(ppo, payment)
        key_state, key_env, key_loop = jax.random.split(key, 3)
        first = paid.init(key_state, game, None), reset(game, key_env, ppo.num_envs)
        arrays, static = eqx.partition(first, eqx.is_array)

        def update(arrays, index):
            state, env = eqx.combine(arrays, static)
            key_play, key_update = jax.random.split(jax.random.fold_in(key_loop, index))
            env, rollout = play(game, paid.behaviour(state), key_play, env, ppo.num_steps)
            state, _ = paid.update(key_update, state, game, None, rollout)
            return eqx.filter((state, env), eqx.is_array), None

        arrays, _ = jax.lax.scan(update, arrays, jnp.arange(updates))
        return eqx.combine(arrays, static)[0].policy

    return eqx.filter_vmap(one)(payments, keys)


def true_returns(game: MarkovGame, policies: Policy, episodes: int) -> Float[np.ndarray, "seed episode"]:
    """True returns, mean over agents, of each joint policy `[seed, ...]`."""
    return np.asarray(_true_returns(game, policies, episodes), np.float64)


@eqx.filter_jit
def _true_returns(game: MarkovGame, policies: Policy, episodes: int) -> Array:
    return eqx.filter_vmap(
        lambda policy: jnp.mean(play_episodes(game, policy, jax.random.key(77), episodes).returns, axis=-1)
    )(policies)


def random_returns(game: MarkovGame, episodes: int) -> Float[np.ndarray, " episode"]:
    """The same of uniformly random play."""
    policy = UniformPolicy(game.num_agents, game.action_space)
    played = play_compiled(game, policy, jax.random.key(78), episodes)
    return np.asarray(jnp.mean(played.returns, axis=-1), np.float64)


def t2(
    folder: Path,
    *,
    seeds: int,
    methods: tuple[str, ...] = (),
    command: str = "",
    quick: bool = False,
) -> list[dict[str, Any]]:
    """Grows `t2.json` (`t2_less.json`), one row a method, written as soon as it is known.

    What each seed gave lies in `runs/t2`, and is not computed again by a command with the same settings.

    Args:
        methods: names in `ROWS`; default: all.
        quick: a tenth of the training on recovered rewards.
    """
    updates = INDUCED_UPDATES // 10 if quick else INDUCED_UPDATES
    game, cases = make_cases(seeds)
    settings = {
        "learner": plain(LEARNER),
        "skipped": SKIPPED,
        "fitted": FITTED,
        "held_out": HELD_OUT,
        "induced_updates": updates,
    }
    random = random_returns(game, EPISODES)
    order, rows = list(ROWS), []
    expert, below = None, None
    for method in sorted(methods or order, key=lambda m: (m != "true-reward", order.index(m))):
        seeds_told = told(f"t2, {method}, seed", cases, label=lambda case: case.seed)
        found = [kept(folder / "runs" / "t2", game, case, method, settings) for case in seeds_told]
        runs = [result for result, _ in found]
        policies = trained(LEARNER, game, [p for _, p in found], [1000 + case.seed for case in cases], updates)
        earned = true_returns(game, policies, EPISODES).mean(1)
        if expert is None:
            paid = [to_learn_from(case, linear(true_weights(game, case))) for case in cases]
            # Experts are other agents than those of the row of the true reward.
            experts = trained(LEARNER, game, paid, [2000 + case.seed for case in cases], updates)
            reached = true_returns(game, experts, EPISODES)
            expert, below = interquartile_mean(reached.mean(1))[0], below_chance(reached.ravel(), random)
        figures = row("t2", method, runs, earned, expert, float(random.mean()), below)
        rows.append({**figures, "command": command, **settings, **where()})
        grow(folder, "t2", rows)
    return sorted(rows, key=lambda r: order.index(r["method"]))


def kept(
    folder: Path, game: MarkovGame, case: Case, method: str, settings: dict[str, Any]
) -> tuple[dict[str, Any], Payment]:
    """One method's figures on one case, from disk where they are there and the settings are the same."""
    path, name = folder / f"{method}-{case.seed}.json", f"{method}-{case.seed}-payment"
    if path.exists():
        known = json.loads(path.read_text())
        if known["settings"] == json.loads(json.dumps(settings)):
            return known["result"], load_module(folder, name, eqx.Module)
    result, payment = measure(game, case, method)
    save_module(payment, folder, name)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"settings": settings, "result": result}))
    partial.replace(path)
    return result, payment


def row(
    table: str,
    method: str,
    runs: list[dict[str, Any]],
    earned,
    expert: float,
    random: float,
    below: str | None = None,
) -> dict[str, Any]:
    """One method's figures over all seeds.

    Args:
        table: "t2" or "t3".
        earned: `[seed]` induced returns, or None where none were measured.
        below: why they are not normalised by this expert, if it is not good enough.
    """

    def total(name):
        return np.concatenate([run[name] for run in runs])

    def mean(name):
        known = [x for run in runs for x in run.get(name, []) if x is not None]
        return (float(np.mean(known)), float(np.min(known))) if known and recovers else (None, None)

    recovers = method != "true-reward"
    share, interval = (None, [None, None])
    if earned is not None and below is None:
        try:
            share, interval = interquartile_mean(normalised_return(np.asarray(earned), expert, random))
        except Unsupported as error:
            below = str(error)
    return {
        "method": method,
        "seeds": len(runs),
        "kl_1a": float(total("kl_1a").mean()),
        "kl_1b": float(total("kl_1b").mean()) if recovers else None,
        "kl_0": float(total("kl_0").mean()),
        "skill_1a": skill(total("kl_1a"), total("kl_0")),
        "skill_1b": skill(total("kl_1b"), total("kl_0")) if recovers else None,
        "pearson": mean("pearson")[0],
        "pearson_least": mean("pearson")[1],
        "cosine": mean("cosine")[0],
        "cosine_least": mean("cosine")[1],
        "induced_return": None if earned is None else interquartile_mean(np.asarray(earned))[0],
        "induced_return_normalised": share,
        "ci95": interval,
        "expert_return": expert,
        "random_return": random,
        "note": below,
        "kl_1b_monte_carlo": _mean_of("kl_1b_monte_carlo", runs) if recovers else None,
        "published": published(table, method),
        "seconds": _mean_of("seconds", runs),
        "per_seed": runs,
        "induced_per_seed": None if earned is None else [float(x) for x in earned],
    }


def published(table: str, method: str) -> dict[str, float] | None:
    """What the poster gives for a method in a table ("t1", "t2", "t3"), or None."""
    figures = json.loads((Path(__file__).parent / "published_ilola.json").read_text())[table]
    return {k: v for k, v in figures.items() if k != "method"} if figures["method"] == method else None


def _mean_of(name: str, runs) -> float | None:
    known = [run[name] for run in runs if name in run]
    return float(np.mean(known)) if known else None


def markdown(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as a table, and below it why returns are not normalised, if they are not."""
    lines = [
        "| method | KL(1a) | KL(1b) | KL(0) | skill 1a | skill 1b | Pearson | cosine | induced return, normalised |",
        "|---|---|---|---|---|---|---|---|---|",
    ]

    def number(value, form):
        return "–" if value is None else format(value, form)

    for each in rows:
        cells = [number(each[k], ".2g") for k in ("kl_1a", "kl_1b", "kl_0")]
        cells += [number(each[k], ".3f") for k in ("skill_1a", "skill_1b", "pearson", "cosine")]
        low, high = each["ci95"]
        earned = number(each["induced_return_normalised"], ".3f")
        cells.append(earned if low is None else f"{earned} [{low:.3f}, {high:.3f}]")
        lines.append(f"| {each['method']} | " + " | ".join(cells) + " |")
    return lines + list(dict.fromkeys(each["note"] for each in rows if each["note"]))

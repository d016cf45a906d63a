"""The experts of learning from learners: what PPO reaches in the games of T2 and T3, beside doing nothing and chance.

    mairl expert simple-spread --record-learning -o HISTORY
    python -m mairl.reproduce.ilola_experts HISTORY -o experiments/ilola/results

A history holds the expert that its learning ended in. Induced returns mean something only where that expert is well
above chance.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import Policy, UniformPolicy
from mairl.core.spaces import ActionSpace, Discrete
from mairl.data.learning_history import load_history
from mairl.games import make_game
from mairl.games.multiwalker import displacement
from mairl.metrics.intervals import mean_interval
from mairl.metrics.play import play_whole
from mairl.reproduce.ilola import add_rows, where

REFERENCE = {
    "multiwalker": {
        "ppo": {"return_mean": 8.27, "displacement": 4.97, "agent_steps": 6_000_000},
        "random": {"return_mean": -100.8, "displacement": 0.13},
        "idle": {"return_mean": -96.8, "displacement": 1.98},
    }
}
"""Published for the default reward: returns per agent, and how far the package came, in metres."""

CLEARLY = 0.5
"""An expert counts as clearly above chance if its interval lies above the random one's by this share of the distance
between their means."""


Mean = tuple[float, list[float | None]]
"""A mean and its interval."""


def clearly_above(expert: Mean, random: Mean) -> bool:
    """Whether an expert's return is clearly above random play's; see `CLEARLY`."""
    (best, (low, _)), (chance, (_, high)) = expert, random
    return low is not None and high is not None and best > chance and low - high > CLEARLY * (best - chance)


def below_chance(expert: Float[np.ndarray, " episode"], random: Float[np.ndarray, " play"]) -> str | None:
    """Why returns are not normalised by an expert that is not clearly above chance, or None where it is."""
    if clearly_above(mean_interval(expert), mean_interval(random)):
        return None
    return (
        f"the experts' return {expert.mean():.4g} is not clearly above random play's {random.mean():.4g}: nothing is "
        "normalised by it; train them longer"
    )


def below_published(returned: float, displacement: float) -> str | None:
    """Why returns in MultiWalker are not normalised by experts that fall short of the published one, or None.

    Args:
        returned: mean per agent.
        displacement: of the package, metres.
    """
    published = REFERENCE["multiwalker"]["ppo"]
    if returned >= published["return_mean"] and displacement >= published["displacement"]:
        return None
    return (
        f"the experts' return {returned:.4g} and displacement {displacement:.3g} fall short of the published "
        f"{published['return_mean']} and {published['displacement']}: nothing is normalised by them; train them longer"
    )


class IdlePolicy(Policy):
    """Does nothing: action 0, or a vector of zeros."""

    num_agents: int = eqx.field(static=True)
    action_space: ActionSpace = eqx.field(static=True)

    def sample(self, key, obs, action_mask=None):
        """See `Policy.sample`."""
        return self.mode(obs, action_mask)

    def mode(self, obs, action_mask=None):
        """See `Policy.mode`."""
        if isinstance(self.action_space, Discrete):
            return jnp.zeros(self.num_agents, jnp.int32)
        return jnp.zeros((self.num_agents, self.action_space.size))


def measured(game: MarkovGame, policy: Policy, episodes: int, *, greedy: bool = False, seed: int = 1234) -> dict:
    """Mean return per agent over whole episodes with its 95% interval, and the mean of each feature's sum."""
    played = play_whole(game, policy, episodes, greedy=greedy, seed=seed)
    mean, interval = mean_interval(played.returns.mean(1))
    found: dict[str, Any] = {
        "episodes": episodes,
        "return_mean": mean,
        "return_ci95": interval,
        "per_agent": played.returns.mean(0).tolist(),
    }
    if played.features is not None:
        sums = played.features.mean(axis=(0, 1))
        found["features"] = dict(zip(game.feature_names(), sums.tolist()))
        if "progress" in game.feature_names():
            walked, around = mean_interval(np.array([displacement(total) for total in played.features]))
            found |= {"displacement": walked, "displacement_ci95": around}
    return found


def expert_row(history: Path, episodes: int) -> dict[str, Any]:
    """One expert of a recorded history, with sampled and with greedy actions, beside random play and doing nothing.

    `clearly_above_random`: whether induced returns may be normalised by it; see `CLEARLY`.
    """
    recorded = load_history(history)
    facts, learner = recorded.metadata.facts(), recorded.updates and recorded.updates.learner
    name = facts["game"]
    game = make_game(name)
    expert = Learned.load(history / "expert").policy
    shape = game.num_agents, game.action_space
    rows = {
        "sampled": measured(game, expert, episodes),
        "greedy": measured(game, expert, episodes, greedy=True),
        "random": measured(game, UniformPolicy(*shape), episodes),
        "idle": measured(game, IdlePolicy(*shape), episodes),
    }
    expert_mean, random_mean = ((rows[k]["return_mean"], rows[k]["return_ci95"]) for k in ("sampled", "random"))
    return {
        "game": name,
        "learner": type(learner).__name__,
        "seed": facts["seed"],
        "env_steps": facts["env_steps"],
        "agent_steps": facts["env_steps"] * game.num_agents,
        **rows,
        "clearly_above_random": clearly_above(expert_mean, random_mean),
        "reference": REFERENCE.get(name),
        "trained_at": facts["commit"],
        "command": f"mairl expert {name} --record-learning -o HISTORY --seed {facts['seed']} "
        f"--budget {facts['env_steps']}",
        **where(),
    }


def main(argv: list[str] | None = None) -> None:
    """Adds the experts of histories to experts.json."""
    parser = argparse.ArgumentParser(prog="python -m mairl.reproduce.ilola_experts", description=main.__doc__)
    parser.add_argument("histories", type=Path, nargs="+", metavar="HISTORY")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of experts.json")
    parser.add_argument("--episodes", type=int, default=1000)
    options = parser.parse_args(argv)
    for history in options.histories:
        row = expert_row(history, options.episodes)
        add_rows(options.out / "experts.json", [row], lambda r: (r["game"], r["seed"], r["env_steps"]))
        summary = {kind: round(row[kind]["return_mean"], 2) for kind in ("sampled", "greedy", "random", "idle")}
        print(f"{row['game']}, seed {row['seed']}: {json.dumps(summary)}")


if __name__ == "__main__":
    main()

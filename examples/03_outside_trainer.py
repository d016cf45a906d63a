"""Another library trains on a recovered reward: Stable-Baselines3's PPO plays one agent of Gems beside an expert.

python examples/03_outside_trainer.py [--seeds 5] [--steps 300000] [--learn 60000] [--json FILE]

needs `pip install stable-baselines3`. It prints the true return of agent 0, which training never saw.
"""

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

import mairl
from mairl.algorithms.run_folder import provenance
from mairl.export import reward_wrapper
from mairl.metrics.intervals import mean_interval

try:
    import stable_baselines3  # pyright: ignore[reportMissingImports]
    from stable_baselines3 import PPO  # pyright: ignore[reportMissingImports]
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize  # pyright: ignore[reportMissingImports]
except ImportError:
    sys.exit("stable-baselines3 is needed to train outside of mairl: pip install stable-baselines3")

AGENT = 0


def train(env, steps, seed, discount):
    """SB3's PPO with its own defaults but for rollouts of whole episodes and a small entropy bonus.

    A recovered reward has a scale of its own, on which PPO's steps would depend, and is shaped by values under the
    discount that it was learned with.
    """
    scaled = VecNormalize(DummyVecEnv([lambda: env]), norm_obs=False)
    model = PPO(
        "MlpPolicy", scaled, gamma=discount, seed=seed, n_steps=1800, batch_size=180, ent_coef=0.01, device="cpu"
    )
    return model.learn(steps)


def true_return(env, act, episodes, seed):
    """Mean undiscounted return of the agent over whole episodes of the game as it is."""
    total = 0.0
    for k in range(episodes):
        obs, _ = env.reset(seed=1000 * seed + k)
        over = False
        while not over:
            obs, reward, terminated, truncated, _ = env.step(act(obs))
            total, over = total + reward, terminated or truncated
    return total / episodes


def main(options):
    began = time.perf_counter()
    game, expert = mairl.make_game("gems"), mairl.load_expert("gems").policy
    demos = mairl.record(game, expert, mairl.key(0), num_steps=5_000)
    learner: Any  # One with a discount.
    learner, budget = mairl.learner_recipe("mamql", "gems", budget=options.learn)
    learned = mairl.fit(learner, game, demos, budget=budget, seeds=options.seeds, episodes=0, progress=True).learned
    learned.save(options.out)
    plain = mairl.to_gymnasium(game, AGENT, expert)
    found = {"recovered": [], "true": []}
    for seed in range(options.seeds):
        one = mairl.Learned.load(options.out, seed=seed)
        paid = {"recovered": reward_wrapper(mairl.to_gymnasium(game, AGENT, expert), one), "true": plain}
        for name, env in paid.items():
            model = train(env, options.steps, seed, learner.discount)
            found[name].append(true_return(plain, lambda o, m=model: int(m.predict(o)[0]), 100, seed))
            print(f"seed {seed}: PPO paid the {name} reward has a true return of {found[name][-1]:.2f}", flush=True)
    returns = {
        **{name: dict(zip(("mean", "ci95"), mean_interval(np.array(v))), per_seed=v) for name, v in found.items()},
        "random": true_return(plain, lambda _: plain.action_space.sample(), 200, 0),
        "expert": float(np.mean(mairl.play_episodes(game, expert, jax.random.key(9), 1000).returns[:, AGENT])),
    }
    for name, value in returns.items():
        print(f"{name}: {value['mean'] if isinstance(value, dict) else value:.2f}")
    if options.json:
        facts = {
            "command": "python examples/03_outside_trainer.py " + " ".join(sys.argv[1:]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            **provenance(),
            "trainer": f"stable-baselines3 {stable_baselines3.__version__} PPO",
            "game": "gems",
            "agent": AGENT,
            "partner": "the shipped expert",
            "reward_from": {"algorithm": "mamql", "env_steps": budget, "demonstrations": demos.num_steps},
            "discount": learner.discount,
            "env_steps": options.steps,
            "seeds": options.seeds,
            "true_return_of_the_agent": returns,
            "wall_s": time.perf_counter() - began,
        }
        Path(options.json).parent.mkdir(parents=True, exist_ok=True)
        Path(options.json).write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100_000, help="environment steps of PPO")
    parser.add_argument("--learn", type=int, default=20_000, help="environment steps of MAMQL")
    parser.add_argument("--out", default="runs/outside_trainer", help="folder for the recovered reward")
    parser.add_argument("--json", default="", help="file for the results")
    main(parser.parse_args())

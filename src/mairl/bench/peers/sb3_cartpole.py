"""Stable-Baselines3's PPO on CartPole-v1 with its defaults but for the number of environments: steps a second."""

import json
import sys
import time

import stable_baselines3
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env


def rate(steps: int) -> dict:
    """Environment steps and gradient updates a second while learning, after one rollout to warm up."""
    envs = make_vec_env("CartPole-v1", n_envs=8)
    model = PPO("MlpPolicy", envs, n_steps=256, batch_size=64, n_epochs=10, device="cpu", verbose=0)
    model.learn(2048)
    start = time.perf_counter()
    model.learn(steps, reset_num_timesteps=False)
    seconds = time.perf_counter() - start
    return {"env_steps_per_s": steps / seconds, "updates_per_s": steps / 2048 * 320 / seconds, "steps": steps}


if __name__ == "__main__":
    found = rate(int(sys.argv[1]) if len(sys.argv) > 1 else 20_480)
    versions = {"stable_baselines3": stable_baselines3.__version__, "torch": torch.__version__}
    print(json.dumps({"ppo": found, "versions": versions, "threads": torch.get_num_threads()}))

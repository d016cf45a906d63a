"""imitation's BC, GAIL and AIRL on CartPole-v1, learning from random play (speed does not depend on who acted)."""

import json
import sys
import time

import imitation
import numpy as np
from imitation.algorithms import bc
from imitation.algorithms.adversarial.airl import AIRL
from imitation.algorithms.adversarial.gail import GAIL
from imitation.data import rollout
from imitation.data.wrappers import RolloutInfoWrapper
from imitation.rewards.reward_nets import BasicRewardNet
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

PLAY = {"n_steps": 256, "batch_size": 64, "n_epochs": 10}


def main(steps: int) -> dict:
    """Environment steps a second of GAIL and AIRL, updates a second of BC."""
    rng = np.random.default_rng(0)
    envs = make_vec_env("CartPole-v1", n_envs=8, wrapper_class=RolloutInfoWrapper)
    trajectories = rollout.rollout(None, envs, rollout.make_sample_until(min_timesteps=4096), rng=rng)
    found = {}
    for name, kind in (("gail", GAIL), ("airl", AIRL)):
        learner = PPO("MlpPolicy", envs, device="cpu", verbose=0, **PLAY)
        net = BasicRewardNet(envs.observation_space, envs.action_space)
        trainer = kind(
            demonstrations=trajectories,
            demo_batch_size=256,
            n_disc_updates_per_round=4,
            venv=envs,
            gen_algo=learner,
            reward_net=net,
            allow_variable_horizon=True,
        )
        trainer.train(2048)
        start = time.perf_counter()
        trainer.train(steps)
        found[name] = {"env_steps_per_s": steps / (time.perf_counter() - start), "steps": steps}
    transitions = rollout.flatten_trajectories(trajectories)
    cloner = bc.BC(
        observation_space=envs.observation_space,
        action_space=envs.action_space,
        demonstrations=transitions,
        rng=rng,
        batch_size=256,
        device="cpu",
    )
    cloner.train(n_batches=50, log_interval=10_000, progress_bar=False)
    start = time.perf_counter()
    cloner.train(n_batches=500, log_interval=10_000, progress_bar=False)
    found["bc"] = {"updates_per_s": 500 / (time.perf_counter() - start), "batch": 256}
    return found


if __name__ == "__main__":
    result = main(int(sys.argv[1]) if len(sys.argv) > 1 else 12_288)
    print(json.dumps({**result, "versions": {"imitation": getattr(imitation, "__version__", "")}}))

"""One training on several devices and in several processes gives what one device gives."""

import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from mairl.algorithms.bc import BC
from mairl.algorithms.fit import fit
from mairl.algorithms.ppo import PPO
from mairl.algorithms.together import join_processes
from mairl.core.errors import Unsupported
from mairl.data.collect import record
from mairl.games import make_game
from mairl.networks.build import NetworkConfig
from mairl.recipes.equilibrium import equilibrium_expert

NETWORK = NetworkConfig(kind="mlp", width=16, depth=1, activation="tanh")
TRAIN = """
import sys
import jax
import numpy as np
from mairl.algorithms.together import join_processes
join_processes()
sys.path.insert(0, {folder!r})
from test_together import train
folder = sys.argv[1]
np.save(f"{{folder}}/{{jax.process_index()}}-of-{{len(jax.devices())}}.npy", train("games", f"{{folder}}/run"))
"""


def train(apart, out=None):
    """Policies and critics' play of a short training, as one vector."""
    learner = PPO(num_envs=4, num_steps=8, epochs=2, minibatches=2, learning_rate=1e-2, network=NETWORK)
    result = fit(
        learner, make_game("stag-hunt"), budget=160, seeds=2, evaluations=2, episodes=4, apart=apart, out=out,
        select="last", checkpoint_seconds=0.0,
    )  # fmt: skip
    assert {row["episodes"] for row in result.rows} != {0}
    numbers = [np.ravel(leaf) for leaf in jax.tree.leaves(result.state) if isinstance(leaf, jax.Array)]
    returns = np.array([row["return/agent_mean"] for row in result.rows], np.float64)
    return np.concatenate([*numbers, returns])


def start(folder, devices, **environment):
    settings = {
        **os.environ,
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
        **environment,
    }
    code = TRAIN.format(folder=os.path.dirname(__file__))
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(process):
    output = process.communicate(timeout=400)[0].decode()
    assert process.returncode == 0, output


@pytest.fixture(scope="module")
def alone():
    return train("seeds")


def test_several_devices_and_processes(tmp_path, alone):
    """Two processes of two devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    running = [
        start(tmp_path, 2, MAIRL_COORDINATOR=address, MAIRL_PROCESSES="2", MAIRL_PROCESS=str(k)) for k in range(2)
    ]
    for process in running:
        finish(process)
    found = [np.load(tmp_path / f"{k}-of-4.npy") for k in range(2)]
    for each in found:
        np.testing.assert_allclose(each, alone, rtol=2e-4, atol=2e-5)
    np.testing.assert_array_equal(found[0], found[1])
    # One run of the two processes, complete.
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {"run.json", "metrics.parquet", "learned"}
    assert not (tmp_path / "run.partial").exists()


def test_the_comparison_can_fail(alone):
    """Another minibatch order moves the numbers by more than the tolerance."""
    learner = PPO(num_envs=4, num_steps=8, epochs=2, minibatches=2, learning_rate=1e-2, network=NETWORK)
    other = fit(learner, make_game("stag-hunt"), budget=160, seeds=[0, 2], evaluations=2, episodes=4, select="last")
    numbers = np.concatenate([np.ravel(x) for x in jax.tree.leaves(other.state) if isinstance(x, jax.Array)])
    assert not np.allclose(numbers, alone[: len(numbers)], rtol=2e-4, atol=2e-5)


def test_what_cannot_be_shared_out(monkeypatch):
    learner = PPO(num_envs=4, num_steps=8, minibatches=2, network=NETWORK)
    devices = jax.devices() * 3
    monkeypatch.setattr(jax, "devices", lambda *_: devices)
    with pytest.raises(Unsupported, match=r"4 games cannot be dealt out evenly to \d+ devices"):
        fit(learner, make_game("stag-hunt"), budget=32, apart="games")
    monkeypatch.setenv("MAIRL_PROCESSES", "2")
    with pytest.raises(Unsupported, match="MAIRL_COORDINATOR"):
        join_processes()


def test_a_learner_that_plays_nothing():
    game = make_game("stag-hunt")
    data = record(game, equilibrium_expert("stag-hunt").policy, jax.random.key(0), num_steps=64)
    with pytest.raises(Unsupported, match="plays nothing"):
        fit(BC(), game, data, budget=4, apart="games")

"""Exported policies act as the originals, without JAX."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import InvalidData, Unsupported
from mairl.core.policy import UniformPolicy
from mairl.core.spaces import Discrete
from mairl.export import export_numpy, load_numpy
from mairl.games import make_game
from mairl.games.tabular.policy import TabularPolicy
from mairl.networks.build import NetworkConfig, per_agent_network
from mairl.networks.heads import BoltzmannPolicy, CategoricalPolicy, GaussianPolicy, MarginalPolicy
from mairl.recipes import load_expert

CASES = {
    "mlp": ("gems", NetworkConfig(kind="mlp", width=16)),
    "cnn": ("overcooked:observation=grid", NetworkConfig(width=16, channels=4, convolutions=2)),
    "entities": ("gems:observation=entities", NetworkConfig(width=16, activation="tanh", shared=True)),
}


@pytest.mark.parametrize("name", CASES)
def test_logits_agree(tmp_path, name):
    game_name, config = CASES[name]
    game = make_game(game_name)
    net = per_agent_network(game, game.action_space.n, config, jax.random.key(0))
    policy = BoltzmannPolicy(net, 2.0, jnp.linspace(0.5, 3.0, game.num_agents))
    export_numpy(policy, tmp_path / "out", game.num_agents)
    exported = load_numpy(tmp_path / "out")
    state, obs = jax.jit(game.reset)(jax.random.key(1))

    @jax.jit
    def act_and_step(key, state, obs):
        return policy.logits(obs), policy.mode(obs), game.step(key, state, policy.sample(key, obs))

    for k in range(5):
        host = jax.tree.map(np.asarray, obs)
        logits, mode, (state, step) = act_and_step(jax.random.key(k), state, obs)
        np.testing.assert_allclose(exported.outputs(host), logits, atol=1e-5)
        np.testing.assert_array_equal(exported(host), mode)
        obs = step.obs


def test_gaussians_are_clipped_and_masks_respected(tmp_path):
    game = make_game("gems")
    net = per_agent_network(game, 3, NetworkConfig(kind="mlp", width=8), jax.random.key(0))
    gaussian = GaussianPolicy(net, jnp.zeros((2, 3)), -0.1, 0.1)
    export_numpy(gaussian, tmp_path / "g", 2)
    obs = np.asarray(game.reset(jax.random.key(0))[1])
    drawn = load_numpy(tmp_path / "g")(obs, np.random.default_rng(0))
    assert drawn.shape == (2, 3)
    assert np.abs(drawn).max() <= 0.1
    export_numpy(CategoricalPolicy(net), tmp_path / "c", 2)
    allowed = np.array([[False, True, False]] * 2)
    assert load_numpy(tmp_path / "c")(obs, np.random.default_rng(0), allowed).tolist() == [1, 1]


@pytest.mark.parametrize("belief", ["boltzmann", "uniform"])
def test_policies_over_joint_actions(tmp_path, belief):
    game = make_game("gems")
    net = per_agent_network(game, 25, NetworkConfig(kind="mlp", width=8), jax.random.key(0))
    policy = MarginalPolicy(net, 5, 3.0, belief)
    export_numpy(policy, tmp_path / "out", 2)
    obs = np.asarray(game.reset(jax.random.key(0))[1])
    np.testing.assert_allclose(load_numpy(tmp_path / "out").outputs(obs), policy.logits(obs), atol=1e-5)


def test_tables(tmp_path):
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.ones(3), (2, 4))
    table[0, 1] = [0.0, 1.0, 0.0]
    policy = TabularPolicy.new(table)
    export_numpy(policy, tmp_path / "out", 2)
    exported = load_numpy(tmp_path / "out")
    for state in range(4):
        obs = np.tile(np.eye(4, dtype=np.float32)[state], (2, 1))
        np.testing.assert_array_equal(exported.outputs(obs), policy.logits(obs))
        assert exported(obs, rng).shape == (2,)
    assert exported(np.tile(np.eye(4)[1], (2, 1)), rng)[0] == 1


def test_runs_without_jax(tmp_path):
    game = make_game("gems")
    expert = load_expert("gems")
    export_numpy(expert, tmp_path / "out", 2)
    obs = game.reset(jax.random.key(0))[1]
    np.save(tmp_path / "obs.npy", np.asarray(obs))
    code = (
        "import sys, numpy as np; sys.path.insert(0, 'out'); from policy import Policy; "
        "print(Policy('out')(np.load('obs.npy')).tolist()); "
        "assert not {'jax', 'mairl'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(np.asarray(expert.policy.mode(obs)).tolist())


def test_refusals(tmp_path):
    with pytest.raises(Unsupported, match="UniformPolicy"):
        export_numpy(UniformPolicy(2, Discrete(3)), tmp_path / "u", 2)
    (tmp_path / "there").mkdir()
    with pytest.raises(InvalidData, match="exists"):
        export_numpy(load_expert("gems"), tmp_path / "there", 2)

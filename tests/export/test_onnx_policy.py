"""ONNX policies compute what the originals do, in another runtime."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import onnxruntime

from mairl.core.errors import InvalidData, Unsupported
from mairl.core.policy import UniformPolicy
from mairl.core.spaces import Discrete
from mairl.export import export_onnx
from mairl.games.tabular.policy import TabularPolicy
from mairl.networks.build import NetworkConfig, PerAgent, make_network
from mairl.networks.heads import BoltzmannPolicy, CategoricalPolicy, GaussianPolicy, MarginalPolicy

A = 3


def spec(*shape, dtype=np.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


SEEN = {
    "vector": spec(7),
    "several": (spec(2, 3), spec(4, dtype=np.int8)),
    "image": spec(5, 6, 2, dtype=np.uint8),
    "entities": {"ego": spec(3), "entities": spec(4, 2), "mask": spec(4, dtype=np.bool_)},
}


def network(seen, size, shared=False, activation="elu"):
    config = NetworkConfig(width=8, channels=4, convolutions=2, activation=activation)
    return PerAgent.new(lambda k: make_network(seen, size, config, k), A, jax.random.key(0), shared)


def observations(seen, rng, batch):
    def draw(s):
        shape = (batch, A, *s.shape)
        if s.dtype == np.float32:
            return rng.normal(size=shape).astype(np.float32)
        return rng.integers(0, 2, shape).astype(s.dtype)

    return jax.tree.map(draw, seen)


def run(path, obs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    return session, session.run(None, dict(zip(names, jax.tree.leaves(obs), strict=True)))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", SEEN)
def test_logits_agree(tmp_path, kind, shared):
    seen = SEEN[kind]
    policy = BoltzmannPolicy(network(seen, 5, shared), 2.0, jnp.linspace(0.5, 3.0, A))
    export_onnx(policy, tmp_path / "policy.onnx", A, seen)
    for batch in (1, 6):
        obs = observations(seen, np.random.default_rng(batch), batch)
        if kind == "entities":
            obs["mask"][0] = False  # Nobody is there.
        session, (logits,) = run(tmp_path / "policy.onnx", obs)
        np.testing.assert_allclose(logits, jax.vmap(policy.logits)(obs), atol=2e-5)
    assert session.get_outputs()[0].name == "logits"
    assert session.get_modelmeta().custom_metadata_map == {"agents": "3", "head": '"categorical"'}


@pytest.mark.parametrize("activation", ["relu", "tanh", "leaky_relu", "silu"])
def test_activations(tmp_path, activation):
    policy = CategoricalPolicy(network(SEEN["vector"], 4, activation=activation))
    export_onnx(policy, tmp_path / "policy.onnx", A, SEEN["vector"])
    obs = observations(SEEN["vector"], np.random.default_rng(0), 3)
    np.testing.assert_allclose(run(tmp_path / "policy.onnx", obs)[1][0], jax.vmap(policy.logits)(obs), atol=2e-5)


@pytest.mark.parametrize("belief", ["boltzmann", "uniform"])
def test_joint_actions(tmp_path, belief):
    policy = MarginalPolicy(network(SEEN["vector"], 4**A), 4, 3.0, belief)
    export_onnx(policy, tmp_path / "policy.onnx", A, SEEN["vector"])
    obs = observations(SEEN["vector"], np.random.default_rng(0), 3)
    np.testing.assert_allclose(run(tmp_path / "policy.onnx", obs)[1][0], jax.vmap(policy.logits)(obs), atol=2e-5)


def test_a_table(tmp_path):
    rng = np.random.default_rng(0)
    policy = TabularPolicy.new(rng.dirichlet(np.ones(5), (A, 4)))
    export_onnx(policy, tmp_path / "policy.onnx", A, spec(4))
    obs = np.eye(4, dtype=np.float32)[rng.integers(0, 4, (6, A))]
    np.testing.assert_allclose(run(tmp_path / "policy.onnx", obs)[1][0], jax.vmap(policy.logits)(obs), atol=1e-6)


def test_a_gaussian(tmp_path):
    log_std = jnp.arange(6.0).reshape(3, 2)
    policy = GaussianPolicy(network(SEEN["vector"], 2), log_std, -1.5, 2.0)
    export_onnx(policy, tmp_path / "policy.onnx", A, SEEN["vector"])
    obs = observations(SEEN["vector"], np.random.default_rng(0), 4)
    session, (mean, spread) = run(tmp_path / "policy.onnx", obs)
    np.testing.assert_allclose(mean, jax.vmap(policy.net)(obs), atol=2e-5)
    np.testing.assert_array_equal(spread, np.repeat(log_std[None], 4, 0))
    facts = session.get_modelmeta().custom_metadata_map
    assert (json.loads(facts["low"]), json.loads(facts["high"])) == (-1.5, 2.0)


def test_what_cannot_be_exported_is_one_clear_line(tmp_path):
    with pytest.raises(Unsupported, match="a UniformPolicy cannot be exported"):
        export_onnx(UniformPolicy(2, Discrete(3)), tmp_path / "x.onnx", 2, SEEN["vector"])
    (tmp_path / "there.onnx").write_text("")
    with pytest.raises(InvalidData, match=r"there\.onnx exists"):
        export_onnx(BoltzmannPolicy(network(SEEN["vector"], 2), 1.0), tmp_path / "there.onnx", A, SEEN["vector"])

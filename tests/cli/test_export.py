"""`mairl export`: the folder works alone, the file in another runtime, bad input ends in one line."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from mairl.algorithms.bc import BC
from mairl.algorithms.fit import fit
from mairl.cli import main
from mairl.core.learned import Learned
from mairl.core.policy import UniformPolicy
from mairl.data.collect import record
from mairl.games import make_game
from mairl.networks.build import NetworkConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    game = make_game("gems")
    data = record(game, UniformPolicy(2, game.action_space), jax.random.key(0), num_episodes=4)
    out = tmp_path_factory.mktemp("run") / "bc"
    learner = BC(network=NetworkConfig(width=8))
    fit(learner, game, data, budget=2, evaluations=1, episodes=0, seeds=[3, 5], out=out, describe={"game": "gems"})
    return out


def test_numpy_alone(run, tmp_path, capsys):
    main(["export", str(run), "-o", str(tmp_path / "alone"), "--seed", "5", "--json"])
    assert json.loads(capsys.readouterr().out)["seed"] == 5
    code = (
        "import sys; sys.modules['jax'] = None\n"
        "import numpy as np; from policy import Policy\n"
        "print(Policy('.')(np.ones((2, 127), np.float32)).tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "alone", capture_output=True, text=True, check=True
    )
    policy = Learned.load(run / "learned", seed=1).policy
    assert json.loads(done.stdout) == policy.mode(np.ones((2, 127), np.float32)).tolist()


def test_onnx(run, tmp_path):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    file = tmp_path / "policy.onnx"
    main(["export", str(run), "-o", str(file), "--format", "onnx"])
    obs = np.random.default_rng(0).normal(size=(4, 2, 127)).astype(np.float32)
    (logits,) = onnxruntime.InferenceSession(str(file)).run(None, {"obs": obs})
    policy = Learned.load(run / "learned", seed=0).policy
    np.testing.assert_allclose(logits, jax.vmap(policy.logits)(obs), atol=2e-5)


def test_bad_input_is_one_line(run, tmp_path, capsys):
    for arguments, said in (
        ([str(run), "-o", str(tmp_path / "x"), "--seed", "4"], "has no seed 4; it has 3, 5"),
        (["nowhere", "-o", str(tmp_path / "x")], "nowhere is no run"),
        ([str(run), "-o", str(tmp_path)], "exists: choose another folder"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["export", *arguments])
        assert stop.value.code == 2
        assert said in capsys.readouterr().err

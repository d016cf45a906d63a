"""The page in a real browser, where one is installed."""

import re
import shutil
import subprocess

import jax
import numpy as np
import pytest

from mairl.algorithms.bc import BC
from mairl.algorithms.fit import fit
from mairl.cli.evaluate_command import evaluate_run
from mairl.core.policy import UniformPolicy
from mairl.data import store
from mairl.data.collect import record
from mairl.data.demonstrations import Metadata
from mairl.games import make_game
from mairl.networks.build import NetworkConfig
from mairl.report.html import most_taken, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--enable-logging=stderr"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    game = make_game("overcooked:horizon=12")
    metadata = Metadata.of("overcooked:horizon=12", "random play")
    demos = record(game, UniformPolicy(2, game.action_space), jax.random.key(0), num_episodes=8, metadata=metadata)
    store.save(demos, folder / "demos")
    algorithm = BC(network=NetworkConfig(kind="mlp", width=8, depth=1))
    facts = {"algorithm_id": "bc", "game": "overcooked:horizon=12", "demos": str(folder / "demos"), "demo_steps": 96}
    fit(algorithm, game, demos, budget=20, seeds=2, evaluations=2, episodes=4, out=folder / "run", describe=facts)
    before = write_report(folder / "run").read_text()
    evaluate_run(folder / "run", episodes=8)
    return before, write_report(folder / "run")


def test_says_what_was_measured(page):
    before, after = page
    text = after.read_text()
    assert "Not evaluated yet" in before
    assert "Not evaluated yet" not in text
    assert "Likelihood" in text
    assert text.count("<svg") >= 4
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_of_many_actions_the_most_taken_are_shown_and_nothing_is_lost():
    shares = np.full((2, 20), 0.01)
    shares[0, 17], shares[1, 3] = 0.81, 0.81
    names = [f"a{k}" for k in range(20)]
    found, labels = most_taken(shares, names, most=5)
    assert labels == ["a0", "a1", "a3", "a17", "others"]
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    np.testing.assert_allclose(found[0], [0.01, 0.01, 0.01, 0.81, 0.16])
    few, labels = most_taken(shares[:, :5], names[:5], most=5)
    assert labels == names[:5]
    assert few.shape == (2, 5)


def test_plays_in_a_browser(page, tmp_path):
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path}/profile", "--virtual-time-budget=2000", "--dump-dom"]
    source = (
        page[1]
        .read_text()
        .replace(
            'document.body.dataset.ready = "yes";',
            'document.body.dataset.ready = "yes"; slider.value = 3; slider.dispatchEvent(new Event("input"));',
        )
    )
    moved = tmp_path / "moved.html"
    moved.write_text(source)
    done = subprocess.run([*command, moved.as_uri()], capture_output=True, text=True, timeout=120)
    body = re.search(r"<body[^>]*>", done.stdout)
    assert body is not None, done.stderr[-500:]
    assert 'data-ready="yes"' in body.group(0)
    assert 'data-frame="3"' in body.group(0)
    assert '<span id="step">3</span>' in done.stdout
    assert "Uncaught" not in done.stderr

"""The driving benchmark: what it counts, and the form that other programs read."""

import types

import pytest

from mairl.bench import driving as bench
from mairl.bench.driving_gradients import gradient_memory
from mairl.driving.observe import FULL, SMALL, Sight
from mairl.scenarios.generate import generate


@pytest.fixture(scope="module")
def scene():
    return generate(0, "highway", steps=91)


def test_the_full_observation_has_the_numbers_that_it_is_named_for(scene):
    game = bench.game_of([scene], 14, 64, FULL)
    assert bench.floats_of(game) == 1848
    assert bench.floats_of(bench.game_of([scene], 14, 64, SMALL)) == 287
    # Everybody is at work to the end.
    assert (game.rules.at_goal, game.rules.at_collision, game.rules.at_off_road) == ("ignore",) * 3


def test_a_rate_counts_driven_places_and_says_how_many_are_taken(scene):
    game = bench.game_of([scene, scene], 3, 8, Sight(partners=2, edges=4, others=4))
    row, timing = bench.rate(game, 2, episodes=1, repeats=2)
    steps = 1 * bench.STEPS * 2 * 3
    assert row["agent_steps_per_s"] == pytest.approx(steps / timing.median)
    assert row["share_driven"] == 1.0
    assert (row["agents"], row["worlds"]) == (3, 2)


def test_rematerialisation_needs_less_memory(scene):
    worlds = bench.game_of([scene], 3, 8, SMALL).worlds
    found = gradient_memory(worlds, steps=20, sight=Sight(partners=2, edges=4, others=4))
    assert 0 < found["bytes_rematerialised"] < found["bytes_remembered"]


def test_only_crowded_scenes_are_taken(scene):
    few = generate(0, "t_stop")
    found = bench.crowded([few, scene], cycle=True)
    assert len(found) == bench.WORLDS
    assert all(s is scene for s in found)
    assert bench.crowded([few], cycle=True) == []


def test_the_result_has_the_agreed_fields(monkeypatch, scene):
    head = {"agent_steps_per_s": 9e5, "observation_floats": 1848, "agents": 14, "worlds": 38, "compile_s": 1.0}
    head["bytes_per_world"] = 7
    monkeypatch.setattr(bench, "crowded", lambda scenarios, cycle=False: [scene] * bench.WORLDS)
    monkeypatch.setattr(bench, "game_of", lambda *arguments: types.SimpleNamespace(worlds=None))
    monkeypatch.setattr(bench, "gradient_memory", lambda worlds: {"bytes_remembered": 2})
    monkeypatch.setattr(bench, "rate", lambda *arguments, **options: (head, None))
    monkeypatch.setattr(bench, "bandwidth", lambda: 1e10)
    found = {"pufferdrive": {"agent_steps_per_s": 4.5e5}, "waymax_metrics": {"skipped": "absent"}}
    monkeypatch.setattr(bench, "run_peer", lambda script, *arguments: found[script])
    result = bench.bench_driving()
    for name in (
        "agent_steps_per_s",
        "observation_floats",
        "agents",
        "worlds",
        "cores",
        "compile_s",
        "bytes_per_world",
    ):
        assert isinstance(result[name], int | float), name
    assert result["ratios"] == {"pufferdrive": 2.0}
    assert result["peers"]["waymax"] == {"skipped": "absent"}
    assert len(result["sweep"]) >= 5
    assert result["bound"]["share_of_bandwidth"] == pytest.approx(9e5 * (4 * 1848 + 4 * 7 * 200) / 1e10)


@pytest.mark.parametrize(("worlds", "devices", "expected"), [(38, 2, (19, 2)), (38, 16, (3, 13)), (2, 8, (1, 2))])
def test_every_device_has_worlds_to_play(worlds, devices, expected):
    each, used = bench.shares(worlds, devices)
    assert (each, used) == expected
    assert worlds <= each * used < worlds + each

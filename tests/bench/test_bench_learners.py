"""Rates of learning from learners are measured, with peers or without."""

import pytest

from mairl.bench import learners


def test_every_part_is_measured(monkeypatch):
    monkeypatch.setattr(learners, "GENERATIONS", 20)
    monkeypatch.setattr(learners, "GAMES", ("simple-spread", "coin-game"))
    monkeypatch.setattr(learners, "LEARNERS", {"naive": None, "ma-spi": None})
    asked = []

    def peer(script, module, *arguments):
        asked.append((script, arguments))
        if module == "mpe2":
            return {"per_s": 100.0}
        if module == "evosax":
            return {"evosax": {"per_s": 50.0}}
        return {"skipped": "jaxmarl is not installed"}

    monkeypatch.setattr(learners, "run_peer", peer)
    result = learners.bench_learners(batches=(2,), work=40)
    assert set(result["inversions"]) == {"i-lola, naive", "i-logel", "i-lola, ma-spi", "ma-lfl-state"}
    assert all(one["per_s"] > 0 for one in result["inversions"].values())
    ours = result["games"]["simple-spread"][0]["per_s"]
    assert result["ratios"]["simple-spread / one process of mpe2"] == {"2": pytest.approx(ours / 100)}
    assert result["ratios"]["cma_es / evosax"] == pytest.approx(result["cma_es"]["per_s"] / 50)
    assert "simple-spread / jaxmarl" not in result["ratios"]
    assert asked[0] == ("evosax_cma", ("16", "16", "20"))

"""Long tables say where they are."""

from mairl.cli import main
from mairl.reproduce import ilola_trajectories
from mairl.reproduce.told import told


def test_each_item_is_told_when_it_is_done(capsys):
    seen = []
    for item in told("t9,", (2, 3), label=lambda n: n * 10):
        assert len(capsys.readouterr().err.splitlines()) == min(1, len(seen))
        seen.append(item)
    assert seen == [2, 3]
    assert capsys.readouterr().err == "t9, 30: 0 s (2 of 2)\n"


def test_ways_of_trajectories_can_be_asked_for(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(ilola_trajectories, "trajectory_row", lambda *given: asked.append(given) or {})
    monkeypatch.setattr(ilola_trajectories, "add_rows", lambda *_: None)
    monkeypatch.setattr("mairl.reproduce.ilola_tables.ilola_trajectories.trajectories_markdown", lambda _: [])
    command = ("reproduce", "ilola", "--table", "trajectories", "-o", str(tmp_path), "--algorithms", "telescoped")
    main([*command, "--seeds", "4"])
    assert {(method, seeds) for method, _, _, seeds, _ in asked} == {("telescoped", 4)}
    assert {(seen, count) for _, seen, count, _, _ in asked} == {
        (seen, count) for seen in ("per state", "episodes") for count in ilola_trajectories.SAMPLES
    }
    assert "telescoped, 30 a state: 0 s (1 of 6)" in capsys.readouterr().err

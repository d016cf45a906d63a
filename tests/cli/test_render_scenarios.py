"""`mairl render` of a store of driving scenarios."""

import json

import pytest
from PIL import Image

from mairl.cli import main
from mairl.cli.render_scenarios import holds_scenarios
from mairl.testing.scenarios import made_scenario


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    store = pytest.importorskip("mairl.scenarios.store")
    folder = tmp_path_factory.mktemp("scenarios") / "store"
    store.save([made_scenario(seed, steps=6) for seed in range(3)], folder)
    return folder


def call(capsys, *arguments) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    try:
        main([str(a) for a in arguments])
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_a_store_is_known_by_its_metadata(tmp_path):
    assert not holds_scenarios(tmp_path / "nowhere")
    for text, is_store in (("{", False), ("[]", False), ('{"format": 1}', False), ('{"format": "scenarios"}', True)):
        (tmp_path / "metadata.json").write_text(text)
        assert holds_scenarios(tmp_path) == is_store


def test_options_of_scenarios_are_refused_elsewhere(capsys, tmp_path):
    (tmp_path / "metadata.json").write_text(json.dumps({"format": 1}))
    code, _, err = call(capsys, "render", tmp_path, "-o", tmp_path / "x.png", "--step", "3")
    assert code == 2
    assert "is no store of scenarios" in err


def test_picture_page_and_animation(capsys, source, tmp_path):
    assert call(capsys, "render", source, "-o", tmp_path / "one.png", "--scenario", "made-1", "--step", "2")[0] == 0
    with Image.open(tmp_path / "one.png") as written:
        assert written.size == (960, 480)
    code, out, _ = call(capsys, "render", source, "-o", tmp_path / "all.html")
    assert code == 0
    assert "3 scenarios" in out
    page = (tmp_path / "all.html").read_text(encoding="utf-8")
    assert all(f">made-{seed}</option>" in page for seed in range(3))
    assert call(capsys, "render", source, "-o", tmp_path / "two.html", "--scenario", "made-2", "made-0")[0] == 0
    two = (tmp_path / "two.html").read_text(encoding="utf-8")
    assert two.index(">made-2</option>") < two.index(">made-0</option>")
    assert ">made-1</option>" not in two
    assert call(capsys, "render", source, "-o", tmp_path / "log.gif")[0] == 0
    with Image.open(tmp_path / "log.gif") as written:
        assert getattr(written, "n_frames", 1) == 6
        assert written.info["duration"] == 100


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "x.bmp"], "cannot write x.bmp"),
        (["-o", "x.png", "--scenario", "none"], "no scenario 'none' among its 3; it begins with made-0, made-1"),
        (["-o", "x.png", "--scenario", "made-0", "made-1"], "shows one scenario, not 2"),
        (["-o", "x.png", "--step", "6"], "has steps 0 … 5, not 6"),
        (["-o", "x.gif", "--step", "2"], "shows every step"),
        (["-o", "x.gif", "--fps", "0"], "--fps is 0.0"),
    ],
)
def test_bad_input_ends_in_one_line(capsys, source, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, "render", source, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())

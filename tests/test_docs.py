"""README and examples run as they stand; what they name exists."""

import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mairl.algorithms.explain import EXPLAINERS
from mairl.algorithms.registry import ALGORITHMS, make_algorithm
from mairl.cli import COMMANDS, main
from mairl.games import GAMES, HOST_GAMES, make_game
from mairl.recipes import EXPERTS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def run_python(*arguments: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=600)
    if done.returncode and "is needed to" in done.stderr.splitlines()[-1]:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_the_readme_example_runs(tmp_path):
    """The first example, to the letter."""
    code = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(code) == 1
    assert EXAMPLES[0].read_text(encoding="utf-8").endswith(f'"""\n\n{code[0]}')
    assert len([line for line in code[0].splitlines() if line.strip()]) <= 10
    assert len(run_python(str(EXAMPLES[0]), folder=tmp_path).splitlines()) == 2
    assert (tmp_path / "runs" / "quickstart" / "learned.json").exists()


@pytest.mark.parametrize("example", EXAMPLES[1:], ids=lambda p: p.name)
def test_examples_run(example, tmp_path):
    assert run_python(str(example), folder=tmp_path)


def test_the_readme_names_what_there_is():
    for name in [*ALGORITHMS, *EXPLAINERS, *GAMES]:
        assert f"`{name}`" in README, name
    for line in re.findall(r"^    (mairl .*?)(?:   |$)", README, re.M):
        assert shlex.split(line)[1] in COMMANDS, line
    for path in re.findall(r"`((?:experiments|benchmarks)/[\w/.]+\.json)`", README):
        assert (ROOT / path).exists(), path


def test_options_in_the_readme_are_the_commands(capsys):
    """Every command line in the README has the options that it is shown with."""
    asked: dict[tuple[str, ...], set[str]] = {}
    for line in re.findall(r"^    mairl (.*?)(?:   |$)", README, re.M):
        words = shlex.split(line)
        # Up to the first option or file: learners and formats have options of their own.
        named = itertools.takewhile(lambda word: re.fullmatch(r"[a-z][a-z-]+", word), words)
        asked.setdefault(tuple(named), set()).update(word for word in words if word.startswith("-"))
    assert len(asked) > 10
    for command, options in asked.items():
        with pytest.raises(SystemExit) as stop:
            main([*command, "--help"])
        assert stop.value.code in (0, None), command
        shown = set(re.findall(r"--?[a-z][a-z-]*", capsys.readouterr().out))
        assert options <= shown, (command, options - shown)


def test_everything_listed_can_be_built():
    for name in ALGORITHMS:
        make_algorithm(name)
    for name in GAMES:
        if name not in HOST_GAMES:  # Their programs may be missing.
            make_game(name)
    for name in EXPERTS:
        make_game(name)

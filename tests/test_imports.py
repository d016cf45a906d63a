"""Imports run one way: a package may import only from those before it, and games never meet algorithms."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "mairl"

MAY = {
    "core": set(),
    "ops": {"core"},
    "networks": {"core", "ops"},
    "data": {"core", "ops"},
    "games": {"core", "ops", "data", "networks"},
    "scenarios": {"core", "ops", "data"},
    "driving": {"core", "ops", "data", "networks", "scenarios"},
    "algorithms": {"core", "ops", "data", "networks"},
    "testing": {"core", "ops", "data", "networks", "games", "scenarios", "algorithms"},
    "export": {"core", "ops", "data", "networks", "games"},
    "metrics": {"core", "ops", "data", "networks", "games", "driving", "algorithms"},
    "recipes": {"core", "ops", "data", "networks", "games", "scenarios", "driving", "algorithms", "metrics"},
    "report": {"core", "ops", "data", "networks", "games", "scenarios", "driving", "algorithms", "metrics", "recipes"},
    "reproduce": {"core", "ops", "data", "networks", "games", "algorithms", "metrics", "recipes", "report"},
    "bench": {"core", "ops", "data", "networks", "games", "scenarios", "driving", "algorithms", "metrics", "recipes"},
}
"""Package to those that it may import; `cli` and the top may import all."""


def violations(root: Path) -> list[str]:
    found = []
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root).parts
        package = parts[0] if len(parts) > 1 else ""
        if package in ("", "cli"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                bits = name.split(".")
                if bits[0] == "mairl" and len(bits) > 1 and bits[1] != package and bits[1] not in MAY[package]:
                    found.append(f"{'/'.join(parts)} imports {name}")
    return found


def test_every_package_has_a_place():
    packages = {p.name for p in SOURCE.iterdir() if p.is_dir() and p.name != "__pycache__"} - {"cli"}
    assert packages == set(MAY) & packages


def test_imports_run_one_way():
    assert violations(SOURCE) == []


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("core/planted.py", "from mairl.data.store import load"),
        ("games/planted.py", "import mairl.algorithms.fit"),
        ("algorithms/planted.py", "def f():\n    from mairl.games import make_game"),
    ],
)
def test_the_gate_sees_a_planted_fault(tmp_path, place, line):
    file = tmp_path / place
    file.parent.mkdir()
    file.write_text(line)
    assert len(violations(tmp_path)) == 1

"""Running a peer: in this interpreter's environment if it is installed there, or in one that the user names."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from importlib.resources import as_file, files
from typing import Any


def interpreter_for(module: str) -> str | None:
    """The Python that can import `module`: the one in `MAIRL_{MODULE}_PYTHON`, else this one, else None."""
    named = os.environ.get(f"MAIRL_{module.upper()}_PYTHON")
    if named:
        return named
    return sys.executable if importlib.util.find_spec(module) is not None else None


def run_peer(script: str, module: str, *arguments: str, timeout: float = 300.0) -> dict[str, Any]:
    """Runs `mairl/bench/peers/{script}.py`; its JSON, or {"skipped": why}."""
    python = interpreter_for(module)
    if python is None:
        name = f"MAIRL_{module.upper()}_PYTHON"
        return {"skipped": f"{module} is not installed; install it, or name an interpreter that has it in {name}"}
    with as_file(files("mairl.bench.peers") / f"{script}.py") as path:
        try:
            done = subprocess.run([python, str(path), *arguments], capture_output=True, text=True, timeout=timeout)
        except (OSError, subprocess.TimeoutExpired) as error:
            return {"skipped": f"{python} failed: {error}"}
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"skipped": f"{module} failed: {last}"}
    return json.loads(done.stdout.strip().splitlines()[-1])

"""A format of its own for the tests of importing: `made logs`, then one JSON object a line that says what to make."""

import importlib.util
import json
import os
import time
from pathlib import Path

import mairl
from mairl.core.errors import InvalidData

# Past the package `mairl.testing`, which brings JAX along: worker processes start much sooner without it.
_spec = importlib.util.spec_from_file_location("made_scenarios", Path(mairl.__file__).parent / "testing/scenarios.py")
assert _spec is not None
assert _spec.loader is not None
_made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_made)
made_scenario = _made.made_scenario

FORMAT = "made"
NAMES = r".+\.log"
HERE = Path(__file__).parent
FORMATS = {"made": "made_logs", "other": "other_logs"}


def knows(head):
    return head.startswith(b"made logs\n")


def read(path):
    """Notes in the file that `MADE_LOGS_READ` names which files are read."""
    if note := os.environ.get("MADE_LOGS_READ"):
        with open(note, "a") as file:
            file.write(f"{path.name}\n")
    if not knows(path.read_bytes()):
        yield InvalidData(f"{path}: record 0: it does not begin with 'made logs'")
        return
    for number, line in enumerate(path.read_text().splitlines()[1:]):
        record = json.loads(line)
        time.sleep(record.pop("sleep", 0.0))
        if "bad" in record:
            yield InvalidData(f"{path}: record {number}: tracks.heading: {record['bad']}")
        elif "raise" in record:
            raise KeyError(record["raise"])
        else:
            yield made_scenario(**record)


def write(path, *records):
    """Writes a file of the format; a number is a good record of that seed."""
    rows = [{"seed": r, "agents": 3, "steps": 12} if isinstance(r, int) else r for r in records]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["made logs", *map(json.dumps, rows)]) + "\n")
    return path

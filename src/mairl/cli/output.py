"""What commands print: one JSON object with `--json`, tables for people otherwise."""

from __future__ import annotations

import json
import math
import sys
from typing import Any


def emit(result: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    """Prints `result` as one JSON object and nothing else, or the lines for people."""
    if as_json:
        json.dump(finite(result), sys.stdout)
        sys.stdout.write("\n")
    else:
        print("\n".join(lines))


def with_interval(value: float | None, interval: list[float | None] | None, digits: int = 2) -> str:
    """A number with its interval, where there is one, as people read it."""
    if value is None:
        return "–"
    low, high = interval or (None, None)
    known = "" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{known}"


def finite(value: Any) -> Any:
    """The same data with NaN and infinities as null, as JSON has none."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value

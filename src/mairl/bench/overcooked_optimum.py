"""How many soups fit into an episode of the classic kitchens, counters allowed: bounds and plans.

python -m mairl.bench.overcooked_optimum -o experiments/mamql/results/overcooked_optimum.json
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
import time
from pathlib import Path

from mairl.algorithms.run_folder import provenance
from mairl.games.overcooked import LAYOUTS, Overcooked
from mairl.games.overcooked.optimum import optimum


def main(argv: list[str] | None = None) -> None:
    """Bounds all classic kitchens and writes them as JSON."""
    parser = argparse.ArgumentParser(prog="python -m mairl.bench.overcooked_optimum", description=main.__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS))
    parser.add_argument("--cook-times", nargs="+", type=int, default=[20, 5])
    parser.add_argument("--horizon", type=int, default=50)
    parser.add_argument("--width", type=int, default=5000, help="states kept at each step of the search")
    parser.add_argument("--shelf", type=int, default=1, help="objects on counters that the bound counts")
    options = parser.parse_args(argv)
    rows = []
    for layout, cook_time in itertools.product(options.layouts, options.cook_times):
        start, name = time.perf_counter(), f"{layout}, cook time {cook_time}"
        game = Overcooked(layout, cook_time=cook_time, horizon=options.horizon)
        found = optimum(game, options.width, options.shelf, say=lambda t, n=name: print(f"{n}: {t}", file=sys.stderr))
        wall_s = round(time.perf_counter() - start, 1)
        row = {"layout": layout, "cook_time": cook_time, "horizon": options.horizon, **dataclasses.asdict(found)}
        rows.append({**row, "actions": found.actions.tolist(), "wall_s": wall_s})
        print(f"{name}: {found.lower} … {found.upper} soups, served at {list(found.served)}, {wall_s} s")
    facts = {
        "command": f"python -m mairl.bench.overcooked_optimum {' '.join(sys.argv[1:] if argv is None else argv)}",
        "unit": "soups in all; each pays 20, 10 to each of the two players",
        "width": options.width,
        "shelf": options.shelf,
        **provenance(),
        "rows": rows,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()

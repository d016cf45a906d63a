"""The command line. One command a file; only the command that runs is imported."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module

COMMANDS = {
    "demo": "the main job in a few minutes: learn rewards and policies, write a report",
    "list": "games, algorithms, recipes",
    "expert": "train an expert (or take the one that ships) and record demonstrations",
    "learn": "learn rewards and policies from demonstrations",
    "sweep": "configurations of a learner side by side, ranked by held-out likelihood",
    "evaluate": "returns, behaviour, reward distances and equilibrium gap of a run, with intervals",
    "transfer": "train fresh agents on a run's recovered reward only",
    "data": "import, export, describe and validate recordings",
    "export": "a learned policy for use without mairl: NumPy alone, or ONNX",
    "render": "a run or a recording as HTML, GIF, PNG or MP4",
    "reproduce": "tables and figures of a paper, published numbers beside ours",
    "bench": "speed, ours and installed peers side by side",
}
"""Command to its one-line description; each lives in `mairl.cli.{command}_command`."""


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the `mairl` command. Exits with 2 and one line on bad input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        raise SystemExit(0)
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("mairl"))
        raise SystemExit(0)
    for stream in (sys.stdout, sys.stderr):
        # Terminals of few letters get escapes in place of an error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    command = arguments[0]
    if command not in COMMANDS:
        _fail(f"there is no command {command!r}; there are {', '.join(COMMANDS)}")
    use_all_cores()
    from mairl.core.errors import MairlError

    try:
        import_module(f"mairl.cli.{command}_command").main(arguments[1:])
    except (MairlError, OSError) as error:
        # A file that cannot be read or written is named in the system's own line.
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted; unfinished work stays in the .partial folder: go on with --resume")


def usage() -> str:
    """What `mairl --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        ["usage: mairl COMMAND [options]", "", *lines, "", "mairl COMMAND --help shows a command's options."]
    )


def use_all_cores() -> None:
    """Gives XLA one CPU device per core, over which `fit` spreads seeds. Must run before JAX starts; a value the user
    has set stays."""
    flag = "--xla_force_host_platform_device_count"
    if flag not in os.environ.get("XLA_FLAGS", ""):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}={cores}".strip()


def _fail(message: str) -> None:
    print(f"mairl: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)

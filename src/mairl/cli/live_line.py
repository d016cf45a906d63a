"""One live line on standard error, for work of which the whole is known: a bar, what was done, and the time left."""

from __future__ import annotations

import sys


class LiveLine:
    """The line, or nothing where standard error is no terminal.

    Args:
        name: of the work, at the start of the line.
        text: shown until something is known.
    """

    def __init__(self, name: str, text: str):
        self._bar = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn(name),
                BarColumn(),
                TextColumn("{task.fields[text]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(name, total=None, text=text)
            self._bar.start()

    @property
    def speed(self) -> float:
        """Of what is counted, in a second; 0 while it is not known."""
        return (self._bar.tasks[0].speed or 0.0) if self._bar is not None else 0.0

    def show(self, done: float, total: float, text: str) -> None:
        """Counts what is done of a total, of any kind."""
        if self._bar is not None:
            self._bar.update(self._task, total=total, completed=done, text=text)

    def close(self) -> None:
        """Leaves the line as it is."""
        if self._bar is not None:
            self._bar.stop()

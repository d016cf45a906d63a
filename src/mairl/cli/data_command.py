"""`mairl data …`: recordings of play (`recording_data_command`) or driving scenarios (`scenario_data_command`).

Neither is imported for the other: those about scenarios start without JAX.
"""

from __future__ import annotations

from contextlib import suppress

from mairl.cli import scenario_data_command


def main(argv: list[str]) -> None:
    """Hands the arguments to those that they concern."""
    if argv in (["info", "--help"], ["info", "-h"]):
        # Which of the two it is, only a STORE tells.
        with suppress(SystemExit):
            scenario_data_command.main(argv)
    elif scenario_data_command.concerns(argv):
        scenario_data_command.main(argv)
        return
    from mairl.cli import recording_data_command

    recording_data_command.main(argv)

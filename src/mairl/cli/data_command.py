"""`mairl data …`: recordings of play (`recording_data_command`) or driving scenarios (`scenario_data_command`).

Neither is imported for the other: those about scenarios start without JAX.
"""

from __future__ import annotations

from mairl.cli import scenario_data_command


def main(argv: list[str]) -> None:
    """Hands the arguments to those that they concern."""
    if scenario_data_command.concerns(argv):
        scenario_data_command.main(argv)
        return
    from mairl.cli import recording_data_command

    recording_data_command.main(argv)

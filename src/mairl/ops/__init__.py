"""Pure mathematics shared by algorithms and metrics."""

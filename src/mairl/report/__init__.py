"""Results for people: tables, plots, animations, pages."""

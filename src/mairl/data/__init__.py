"""Recordings: their form, their store, their collection."""

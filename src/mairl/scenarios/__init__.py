"""Driving logs: one neutral form of recorded traffic and its map, readers of known formats, and a store."""

"""Contract kits and probe games, for this project and for third parties."""

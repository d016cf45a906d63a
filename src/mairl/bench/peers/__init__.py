"""Scripts that a peer's own interpreter runs: each prints one JSON object. They import nothing of mairl."""

"""What a result is worth: returns, behaviour, reward distances, equilibrium."""

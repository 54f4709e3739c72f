"""Influence sketching: generalised Cook's distances in a random subspace of the features."""

"""A package of somebody else's: one of each kind that tempograd takes."""

"""What may be built: a search space is one choice graph with five readings."""

"""How a module of the user's becomes a space: marks in it, and one run that is written down as a choice graph."""

"""Searching a space under a latency constraint, and deriving one architecture from it."""

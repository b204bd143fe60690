"""A device that computes latencies instead of measuring them."""

"""What was measured: the store, the data set and its exchange format."""

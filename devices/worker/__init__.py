"""The measuring process: the only one that runs foreign code."""

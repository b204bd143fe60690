"""The published methods as recipes, one file each; a file here is found by its name."""

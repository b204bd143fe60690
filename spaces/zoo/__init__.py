"""The published search spaces, one file each; a file here is found by its name."""

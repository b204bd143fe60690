"""The inference engines, one file each; a file here is found by its name."""

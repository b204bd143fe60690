"""The places a network can run in, one file each; a file here is found by its name."""

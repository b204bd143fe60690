"""The search loops, one file each."""

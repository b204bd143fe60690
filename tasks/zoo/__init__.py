"""The tasks that have a name: one file each, which exports ``TASK``."""

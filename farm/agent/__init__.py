"""The agent of a farm: takes jobs from a queue, has them timed on the device of this machine, and delivers results."""

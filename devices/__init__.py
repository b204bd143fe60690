"""Where networks run: places, runtimes, and the process in which foreign models are opened."""

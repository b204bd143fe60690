"""The jobs of a user, one file each: what the command line calls, and what a script may call.

Only here do the profiler and the search meet: the search is handed a function that measures.
"""

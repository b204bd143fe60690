"""What was learnt: latency from an encoding. Arrays in, milliseconds out.

``predictor`` names the protocols, ``models/`` holds one model a file, ``metrics``, ``interval`` and ``evaluate`` judge
them, ``saved`` keeps them on disk. Nothing here knows a search space or a data set.
"""

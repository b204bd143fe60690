"""What was learnt: latency from an encoding. Arrays in, milliseconds out."""

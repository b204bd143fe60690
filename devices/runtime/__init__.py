"""What an inference engine is, and what engines share."""

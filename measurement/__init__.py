"""What a number is: raw rounds of a network, the label and interval derived from them, and what they refer to."""

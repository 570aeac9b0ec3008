"""How well words predict when an entry fires, and how much of that chance alone would have given: pure functions."""

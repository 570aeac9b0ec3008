"""How well words predict when a neuron fires, and how much of that chance alone would have given: pure functions."""

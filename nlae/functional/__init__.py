"""Pure tensor functions: the mathematics of a natural language autoencoder, readable beside the paper.

Nothing here knows a model, a file or a config.
"""

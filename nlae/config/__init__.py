"""The only place that knows Hydra: command line, typed root, composition, preflight, and building from nodes.

Importing this package imports nothing of Hydra; `compose` and `sweep` do, when they are first needed.
"""

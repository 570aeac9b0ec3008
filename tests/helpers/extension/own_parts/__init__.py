"""A user's own package, outside of nlae: a class for each kind of part that a config can name."""

"""How the works are done without nlae: one file per library, each as its documentation shows it."""

"""Candidates: which contexts are put into words for a layer, and what a neuron's exemplars have in common."""

"""Readers: what turns the words of a description into a vector of the whitened space."""

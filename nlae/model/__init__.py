"""The method: one base, a verbalizer that writes what a vector says, a reconstructor that rebuilds it, their files."""

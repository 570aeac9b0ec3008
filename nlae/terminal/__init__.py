"""What a person at a terminal sees while something runs: bars, log lines, plain text; nothing of other packages."""

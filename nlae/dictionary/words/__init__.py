"""From an entry's exemplars to a plain phrase: which words stand there, which of them are said, and how."""

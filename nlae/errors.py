"""The one exception that reaches the user as a single line.

Anything else that escapes is a bug and keeps its traceback.
"""


class NlaeError(Exception):
    """A problem the user can mend; its message says what, where and what to do, in one line."""

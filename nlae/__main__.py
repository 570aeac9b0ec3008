"""`python -m nlae` is `nlae`."""

import sys

from nlae.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""python -m commands '[["report", "target=tiny"], …]': several commands of `nlae` in one process, until one fails."""

import json
import sys

from nlae.cli import main

if __name__ == "__main__":
    for words in json.loads(sys.argv[1]):
        if status := main(words):
            sys.exit(status)

"""python -m pretend_cuda LEDGER.json MODULE ARGUMENTS: run `python -m MODULE ARGUMENTS` with the device switched on."""

import atexit
import runpy
import sys
from pathlib import Path

from pretend_cuda.switch import switch_on

if __name__ == "__main__":
    atexit.register(switch_on().dump, Path(sys.argv[1]))
    if sys.argv[2].split(".")[0] in ("nlae", "commands"):
        from pretend_cuda.phases import follow

        follow()
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

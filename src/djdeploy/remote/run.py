"""Runs a program of the package: `run.py NAME WORDS...`.

It is shipped beside the package, so that Python finds the package in the directory of its script.
"""

import sys
from importlib import import_module

if __name__ == "__main__":
    import_module("djdeploy_remote.programs").main(sys.argv[1:])

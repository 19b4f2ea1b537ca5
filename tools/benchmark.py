"""Measure speed: python tools/benchmark.py {data,collate,step,knn,propagation,parts,scaling} [--reference CHECKOUT]"""

import sys

from dino_plugin.benchmark.command_line import main

if __name__ == '__main__':
    sys.exit(main())

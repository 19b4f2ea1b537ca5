"""Measure speed: python tools/benchmark.py {data,collate,step,knn,propagation,discovery,parts,scaling} [--help]"""

import sys

from benchmark.command_line import main  # the folder of that name beside this file

if __name__ == '__main__':
    sys.exit(main())

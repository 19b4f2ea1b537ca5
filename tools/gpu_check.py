"""Check and measure everything on one GPU: python tools/gpu_check.py [--reference CHECKOUT] [--images FOLDER]"""

import sys

from gpu_checks.command_line import main  # the folder of that name beside this file

if __name__ == '__main__':
    sys.exit(main())

"""How far long work is: a bar on a terminal, a line in the log from time to time elsewhere."""

import sys
import time
from collections.abc import Iterator, Sized
from typing import Any

from mmengine.dist import is_main_process
from mmengine.logging import print_log
from rich.console import Console
from rich.progress import track

_INTERVAL = 30  # seconds between two lines


def progress(items: Sized, name: str) -> Iterator[Any]:
    """The items; the first process tells how many are done and how long the rest will take.

    Args:
        items: Anything with a length that can be iterated over, such as a dataloader.
        name: What they are.
    """
    if is_main_process() and sys.stderr.isatty():
        yield from track(items, name, console=Console(stderr=True), transient=True)
        return
    began = told = time.monotonic()
    for number, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - told > _INTERVAL and is_main_process():
            left = (now - began) / number * (len(items) - number)
            print_log(f'{name}: {number} of {len(items)} done, about {left:.0f} s left', logger='current')
            told = now

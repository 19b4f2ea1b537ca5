"""Speed, measured: candidates in turn in one process, checked to compute the same; behind ``tools/benchmark.py``."""

"""Generated splits, each made once in a process: many tests look at the same ones."""

from functools import cache

from gapbench.bench.synthetic import generators

generate = cache(generators.generate)

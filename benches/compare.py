"""The small work of `compare`, under CPython's ways to write an asynchronous context manager.

`compare --python` runs this, and asks for one slice after the other between its own: a line
`<way> <uses>` on stdin is answered by a line with the nanoseconds a use.

    echo asynccontextmanager 100000 | python3 compare.py
"""

import asyncio
import sys
from contextlib import asynccontextmanager
from time import perf_counter_ns

closed = 0


def close(value):
    global closed
    closed += value[0] > 0


@asynccontextmanager
async def generator(start):
    value = [start]
    yield value
    close(value)


class Counter:
    def __init__(self, start):
        self.start = start

    async def __aenter__(self):
        self.value = [self.start]
        return self.value

    async def __aexit__(self, kind, error, traceback):
        close(self.value)


async def inline(start):
    value = [start]
    value[0] += 1
    result = value[0]
    close(value)
    return result


async def asynccontextmanager_(start):
    async with generator(start) as value:
        value[0] += 1
        return value[0]


async def class_(start):
    async with Counter(start) as value:
        value[0] += 1
        return value[0]


async def repeat(use, uses):
    begun = perf_counter_ns()
    for start in range(uses):
        await use(start)
    return (perf_counter_ns() - begun) / uses


WAYS = {"inline": inline, "asynccontextmanager": asynccontextmanager_, "class": class_}


def main():
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            way, uses = line.split()
            print(runner.run(repeat(WAYS[way], int(uses))), flush=True)


if __name__ == "__main__":
    main()

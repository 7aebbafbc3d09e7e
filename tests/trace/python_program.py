"""What test_recorder_python.py records; its line numbers stand there."""

import ctypes
import threading

kept = []


def leaf(size):
    kept.append(bytes(size))


class Maker:
    def made(self, size):
        leaf(size)


library = ctypes.CDLL(None)

api = ctypes.pythonapi
Maker().made(70_001)


def numbers():
    for size in (70_003,):
        leaf(size)
        yield


async def waits():
    import asyncio

    await asyncio.sleep(0)
    leaf(70_004)


def deep(depth):
    if not depth:
        leaf(70_005)
    return depth and deep(depth - 1)


def calls_malloc():
    library.malloc(ctypes.c_size_t(123_457))
    api.PyMem_RawMalloc.restype = ctypes.c_void_p
    api.PyMem_RawMalloc(ctypes.c_size_t(123_461))


def main():
    import asyncio

    thread = threading.Thread(target=leaf, args=(70_002,))
    thread.start()
    thread.join()
    list(numbers())
    asyncio.run(waits())
    deep(300)
    calls_malloc()
    for size in range(50):
        names = {}
        lines = "\n" * (size % 7)
        exec(f"def made_{size}(leaf):\n{lines}    leaf({80_000 + size})\n", names)
        names[f"made_{size}"](leaf)
    stack = list(range(10_000))
    while stack:
        stack.pop()
    kept.append([{"key": str(number), "more": [number]} for number in range(20_000)])


main()

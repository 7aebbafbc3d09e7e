"""Numbers and words as bytes, for kernels that write text."""

import numpy as np

from heapwright.compiler import kernel, unsigned

NUMBER_BYTES = 20  # the longest decimal of an int64


@kernel
def put_decimal(text, at, number):
    """Write `number` >= 0 at `at`; returns the byte after it."""
    digits, rest = 1, number // 10
    while rest:
        digits += 1
        rest //= 10
    for place in range(digits):
        text[unsigned(at + digits - 1 - place)] = 48 + number % 10
        number //= 10
    return at + digits


@kernel
def put_hexadecimal(text, at, number):
    """Write `number` >= 0 as 0x...; returns the byte after it."""
    text[unsigned(at)], text[unsigned(at + 1)] = 48, 120
    at += 2
    digits, rest = 1, number >> 4
    while rest:
        digits += 1
        rest >>= 4
    for place in range(digits):
        digit = number & 15
        text[unsigned(at + digits - 1 - place)] = digit + (48 if digit < 10 else 87)
        number >>= 4
    return at + digits


@kernel
def put_word(text, at, words, which):
    """Write row `which` of `words` uint8[word, byte], which ends at its first 0."""
    for place in range(words.shape[1]):
        char = words[unsigned(which), unsigned(place)]
        if char == 0:
            break
        text[unsigned(at)] = char
        at += 1
    return at


def word_table(*words: str) -> np.ndarray:
    """uint8[word, byte] for `put_word`."""
    table = np.zeros((len(words), max(map(len, words)) + 1), np.uint8)
    for row, word in enumerate(words):
        table[row, : len(word)] = np.frombuffer(word.encode(), np.uint8)
    return table

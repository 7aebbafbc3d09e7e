"""The worst-case game: what tells two states apart."""

import numpy as np
import pytest

from heapwright.adversary import game


def subject(words):
    """A game whose state is `words`, all of them in the fingerprint, and no block."""
    memory = np.array(words, np.int64)
    where, nothing = np.arange(len(words)), np.zeros(0, np.int64)
    rows = np.zeros(1, np.int32)
    fields = np.zeros(game.FIELDS, np.int64)
    fields[[game.WORDS, game.HASHED]] = len(words)
    return game.Game(
        game.State(memory, where, memory.copy(), memory.copy()),
        game.Nodes(rows, rows, np.zeros(1, np.int64), np.zeros(1, np.int64), rows),
        *(nothing, nothing, nothing, nothing, fields),
    )


@pytest.mark.parametrize("bit", range(64))
def test_every_bit_of_a_word_tells_states_apart(bit):
    word = 0x0123_4567_89AB_CDEF
    other = int((np.uint64(word) ^ np.uint64(1 << bit)).astype(np.int64))
    prints = [int(game.fingerprint(subject([7, value, 9]))) for value in (word, other)]
    assert prints[0] != prints[1]

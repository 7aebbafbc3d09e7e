"""Workers of multiprocessing: each counts the words of its share of texts and sends what it found;
the first process makes the texts and joins the answers."""

import collections
import itertools
import multiprocessing
import random
import time

WORKERS, TEXTS, WORDS = 3, 600, 1200


def count(texts, answers):
    """What a worker does."""
    words, pairs = collections.Counter(), collections.Counter()
    for text in texts:
        split = text.split()
        words.update(split)
        pairs.update(itertools.pairwise(split))
    answers.send((words, pairs.most_common(2000)))
    answers.close()
    del pairs
    time.sleep(1.0)


def main():
    """Make the texts, start the workers, join what they found."""
    dice = random.Random(3)
    known = [f"word{n}" for n in range(4000)]
    texts = [" ".join(dice.choices(known, k=WORDS)) for _ in range(TEXTS)]
    running = []
    for number in range(WORKERS):
        ours, theirs = multiprocessing.Pipe(duplex=False)
        one = multiprocessing.Process(target=count, args=(texts[number::WORKERS], theirs))
        one.start()
        running.append((one, ours))
    total, pairs = collections.Counter(), collections.Counter()
    for _one, ours in running:
        words, most = ours.recv()
        total.update(words)
        pairs.update(dict(most))
    for one, _ in running:
        one.join()
    del texts, known
    time.sleep(1.5)


if __name__ == "__main__":
    main()

"""The one exception that a person sees as a sentence instead of a traceback."""


class HeapwrightError(Exception):
    """A person's mistake or a machine's refusal: what, where and the mend, in one sentence.

    The command line prints it on stderr and exits with status 1. Anything else that escapes is a
    bug and keeps its traceback.
    """

"""A second format, for the tests of what a file looks like."""

FORMAT = "other"
NAMES = r".+\.other"


def knows(head):
    return head.startswith(b"other logs\n")


def read(path):
    yield from ()

"""`python -m mairl`: the command line where the `mairl` script is not on the path."""

from mairl.cli import main

if __name__ == "__main__":
    main()

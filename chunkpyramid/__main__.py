"""``python -m chunkpyramid``: the command line."""

from chunkpyramid.cli import main

if __name__ == "__main__":
    main()

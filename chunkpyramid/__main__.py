"""``python -m chunkpyramid``: the command line."""

from chunkpyramid.cli.main import main

if __name__ == "__main__":
    main()

"""`python -m renga.cli`: the command without its script."""

from renga.cli import main

if __name__ == "__main__":
    main()

"""Models on disk: which there are, and whether a folder holds all that serving one needs."""

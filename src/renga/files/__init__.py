"""Uploaded files: what they are, where their bytes stand, and how long they stay."""

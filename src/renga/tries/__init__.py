"""Tries: how often an answer is tried for, where, and when a backend is left alone."""

from renga.tries.breaker import Breaker, Standing
from renga.tries.plan import Plan, Tries, Try
from renga.tries.room import Room

__all__ = ["Breaker", "Plan", "Room", "Standing", "Tries", "Try"]

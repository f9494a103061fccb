"""Limits: how much a key, a workspace and a tier may ask in a minute, a day and a month.

`Limits` is asked before an answer begins and told what it took in the end; several servers on one
database share each limit. How much is in a bucket stands in `buckets`, what this server has of it
in `allowances`. Does not know HTTP.
"""

from renga.limits.limiter import Limits, Reservation, Unlimited
from renga.limits.standing import Standing

__all__ = ["Limits", "Reservation", "Standing", "Unlimited"]

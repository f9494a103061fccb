"""Reaching other servers: one client, the replicas behind one name, and what goes wrong there.

What is said to them and what they say is the business of the backends that import this; here are
bytes. A backend opens an answer with `Upstream.post` and reads it from a `Reply`; whatever breaks
in between is a RengaError with its cause.
"""

from __future__ import annotations

from renga.backends.remote.client import Reply
from renga.backends.remote.faults import Cause, fault
from renga.backends.remote.sse import ServerEvent
from renga.backends.remote.upstream import Upstream

__all__ = ["Cause", "Reply", "ServerEvent", "Upstream", "fault"]

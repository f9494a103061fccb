"""The inference engine: a process of its own, reached by the messages of `renga.engine.messages`.

Requests go down as token ids, text comes back up. It knows nothing of HTTP, chat templates or money.
"""

"""The part of an answer that is thought before it: its text, its budget, and how it is closed.

Owned rules: thinking ends with the tokens that the model's template closes it with, whoever writes
them; none of those tokens is part of its text, nor of what follows. It knows no logits, no grammar
and no stop sequences.
"""

from renga.engine.messages import Thinking
from renga.engine.text import TextStream, Vocabulary


class Thought:
    """What was thought so far, as its tokens come."""

    def __init__(self, thinking: Thinking, vocabulary: Vocabulary) -> None:
        at = thinking.end.index(thinking.marker)
        self.tokens = 0
        """How many there are, those that close it included."""
        self.due: list[int] = []
        """What must come next: the rest of the tokens that close it."""
        self._thinking = thinking
        self._behind = thinking.end[at + 1 :]
        self._closed = False
        marker = vocabulary.text([thinking.marker])
        # A marker that is a special token has no text to look for.
        closings = [vocabulary.text(thinking.end[: at + 1]), marker] if marker else []
        self._text = TextStream(vocabulary, closings)
        if thinking.budget == 0:
            self.close()

    @property
    def over(self) -> bool:
        """Whether the next token is the answer's."""
        return self._closed and not self.due

    def close(self) -> None:
        """Have it end with the next tokens."""
        self.due = list(self._thinking.end)

    def push(self, token: int) -> str:
        """Take a token; returns the text of the thinking that it makes certain."""
        self.tokens += 1
        writes = bool(self.due)
        if writes:
            del self.due[0]
        if self._closed:
            return ""
        text = self._text.push(token)
        if token == self._thinking.marker or self._text.stopped is not None:
            self._closed = True
            self.due = list(self._behind)
            return text + self._text.finish()
        if not writes and self.tokens == self._thinking.budget:
            self.close()
        return text

    def finish(self) -> str:
        """The text still held back where the answer ends within it."""
        return "" if self._closed else self._text.finish()


def wrong_thinking(thinking: Thinking, vocab: int) -> str | None:
    """What makes thinking impossible, as a sentence."""
    if thinking.marker not in thinking.end:
        return f"thinking.marker: {thinking.marker}; one of thinking.end is expected"
    if not 0 <= min(thinking.end) <= max(thinking.end) < vocab:
        return f"thinking.end: token ids from 0 to {vocab - 1} are expected"
    if thinking.budget is not None and thinking.budget < 0:
        return f"thinking.budget: {thinking.budget}; 0 or more is expected"
    return None

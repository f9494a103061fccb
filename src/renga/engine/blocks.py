"""The pool of KV blocks and the prefix tree over them. Pure: it moves numbers, never tensors.

A block is known by a digest of the workspace's salt and every token up to its end, so a chain of
digests is a path of the tree and equal digests mean equal contents. Owned rules: only whole blocks
are in the tree; a block in the tree is never written again; a block lives while a sequence holds
it, and when none does it is evicted least recently used first, a child before its parent.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

BLOCK_SIZE = 32


class OutOfBlocks(Exception):
    """More blocks were asked for than can be freed."""


def root(salt: str) -> bytes:
    """The digest that a workspace's chains begin with."""
    return blake2b(salt.encode(), digest_size=16).digest()


def extend(parent: bytes, tokens: Sequence[int]) -> bytes:
    """The digest of a block with these tokens after the block (or root) with that digest."""
    return blake2b(parent + array("I", tokens).tobytes(), digest_size=16).digest()


def chain(salt: str, tokens: Sequence[int], size: int = BLOCK_SIZE) -> list[bytes]:
    """The digests of all whole blocks of a text, in order."""
    digests: list[bytes] = []
    last = root(salt)
    for begin in range(0, len(tokens) - size + 1, size):
        last = extend(last, tokens[begin : begin + size])
        digests.append(last)
    return digests


class BlockPool:
    """Numbered blocks, who holds them, and which of them hold a known prefix."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self._holders = [0] * blocks
        self._blank = list(range(blocks - 1, -1, -1))
        self._unused: OrderedDict[int, None] = OrderedDict()
        self._block_of: dict[bytes, int] = {}
        self._digest_of: dict[int, bytes] = {}

    @property
    def available(self) -> int:
        """Blocks that `take` could give now: blank ones and those that could be evicted."""
        return len(self._blank) + len(self._unused)

    @property
    def cached(self) -> int:
        """Blocks that no sequence holds but whose prefix could still be reused."""
        return len(self._unused)

    def hold(self, digests: Iterable[bytes]) -> list[int]:
        """Hold the blocks of the longest known beginning of a chain, and return them."""
        held: list[int] = []
        for digest in digests:
            block = self._block_of.get(digest)
            if block is None:
                break
            if self._holders[block] == 0:
                del self._unused[block]
            self._holders[block] += 1
            held.append(block)
        return held

    def take(self, count: int) -> list[int]:
        """Blocks for writing, each with one holder; evicts as needed, or raises OutOfBlocks."""
        if count > self.available:
            raise OutOfBlocks(f"{count} blocks wanted, {self.available} available")
        while len(self._blank) < count:
            block, _ = self._unused.popitem(last=False)
            del self._block_of[self._digest_of.pop(block)]
            self._blank.append(block)
        taken = [self._blank.pop() for _ in range(count)]
        for block in taken:
            self._holders[block] = 1
        return taken

    def publish(self, block: int, digest: bytes) -> None:
        """Enter a whole, written block into the tree; nobody may write it from now on.

        Where the tree knows the same contents already, the older block stays the known one.
        """
        if digest not in self._block_of and block not in self._digest_of:
            self._block_of[digest] = block
            self._digest_of[block] = digest

    def release(self, blocks: Sequence[int]) -> None:
        """Let go of a sequence's blocks, given in the order of its text."""
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if block in self._digest_of:
                self._unused[block] = None
            else:
                self._blank.append(block)

    def holders(self, block: int) -> int:
        """How many sequences hold a block."""
        return self._holders[block]

    def is_published(self, block: int) -> bool:
        """Whether a block is in the tree, so that others may hold it."""
        return block in self._digest_of

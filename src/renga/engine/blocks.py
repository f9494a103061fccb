"""The pool of KV blocks and the prefix tree over them. Pure: it moves numbers, never tensors.

A block is known by a digest of the workspace's salt and every token up to its end, so a chain of
digests is a path of the tree and equal digests mean equal contents. Owned rules: only whole blocks
are in the tree; a block in the tree is never written again; a block lives while a sequence or a pin
holds it, and when none does it is evicted least recently used first, a child before its parent.
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


def grow_chain(digests: list[bytes], salt: str, tokens: Sequence[int], blocks: int) -> None:
    """Append to the digests of a text's first blocks until there are so many; all are whole."""
    last = digests[-1] if digests else root(salt)
    for begin in range(len(digests) * BLOCK_SIZE, blocks * BLOCK_SIZE, BLOCK_SIZE):
        last = extend(last, tokens[begin : begin + BLOCK_SIZE])
        digests.append(last)


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
        """Blocks that nobody holds but whose prefix could still be reused."""
        return len(self._unused)

    def known(self, digests: Iterable[bytes]) -> int:
        """How many blocks the longest known beginning of a chain has."""
        count = 0
        for digest in digests:
            if digest not in self._block_of:
                break
            count += 1
        return count

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
        """Let go of held blocks, given in the order of their text."""
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if block in self._digest_of:
                self._unused[block] = None
            else:
                self._blank.append(block)

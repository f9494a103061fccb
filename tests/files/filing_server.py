"""A process that uploads and deletes files until it is killed; run by test_library.py.

Prints `kept ID SIZE DIGEST` and `deleted ID` once each is acknowledged.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
import time
from pathlib import Path

from renga.files.library import Files
from renga.ids import make_ids
from renga.store import Store


def say(*words: str) -> None:
    """One line, at once."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


async def main(url: str, folder: str, seed: int) -> None:
    """Go on and on."""
    chance = random.Random(seed)
    async with await Store.open(url) as store:
        files = Files(store, Path(folder), clock=time.time, ids=make_ids(chance))
        kept: list[str] = []
        while True:
            data = chance.randbytes(chance.choice((0, 10, 2_000_000)))
            async with files.receive("w") as incoming:
                for at in range(0, len(data), 300_000):
                    await incoming.write(data[at : at + 300_000])
                made = await incoming.finish(filename="a", content_type="", expires_in=None)
            kept.append(made.file_id)
            say("kept", made.file_id, str(len(data)), hashlib.sha256(data).hexdigest())
            if chance.random() < 0.5:
                gone = kept.pop(chance.randrange(len(kept)))
                await files.delete("w", gone)
                say("deleted", gone)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

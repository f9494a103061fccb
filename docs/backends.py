"""The table of `docs/gguf.md`: what each kind of backend does with each field that not all honour.

Every sample of `docs.fields` goes to a server with one tier for each kind; the verdicts are those
of that page. Fields on which all kinds agree are left out: that page has them.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import httpx

from docs.endpoints import table
from docs.fields import HEADERS, MESSAGES, MESSAGES_SAMPLES, WINDOW, Sample, Verdict, send
from renga.app import App
from renga.config import BackendConfig, Config, TierConfig
from renga.http.app import create_http
from tests.tiny_model import write_gguf, write_model
from training.vocabulary import TEMPLATE

TIERS = {"haiku": "local", "sonnet": "llamacpp", "opus": "scripted"}

Found = list[tuple[Sample, dict[str, Verdict]]]


async def send_all() -> Found:
    """What became of every sample, by kind of backend."""
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(
            Path(folder, "model"), template=TEMPLATE, max_position_embeddings=WINDOW
        )
        models = {"local": model, "llamacpp": write_gguf(model), "scripted": model}
        backends = {
            kind: BackendConfig(kind, kind, str(models[kind]), threads=1, window=WINDOW, slots=4)  # type: ignore[arg-type]
            for kind in TIERS.values()
        }
        tiers = {tier: TierConfig(tier, (kind,)) for tier, kind in TIERS.items()}
        async with AsyncExitStack() as stack:
            app = await App.start(Config(home=Path(folder), backends=backends, tiers=tiers))
            stack.push_async_callback(app.aclose)
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(create_http(app)),
                base_url="http://localhost",
                headers=HEADERS,
                timeout=None,
            )
            await stack.enter_async_context(client)
            verdicts = await asyncio.gather(*(_verdicts(client, one) for one in MESSAGES_SAMPLES))
            return list(zip(MESSAGES_SAMPLES, verdicts, strict=True))


async def _verdicts(client: httpx.AsyncClient, sample: Sample) -> dict[str, Verdict]:
    found = {}
    for tier, kind in TIERS.items():
        asked = sample if "model" in sample.fields else sample.asking(tier)
        found[kind] = await send(client, MESSAGES, asked, named=False)
    return found


def capabilities() -> str:
    """The fields on which kinds differ."""
    rows = [
        [f"`{sample.name}`", *(verdict.what for verdict in verdicts.values())]
        for sample, verdicts in asyncio.run(send_all())
        if len({verdict.what for verdict in verdicts.values()}) > 1
    ]
    return table(("field", *(f"`{kind}`" for kind in TIERS.values())), rows)

"""The engines that can be measured: the word for each, and how it is started.

Whoever is not installed is refused by one line that names what to install.
"""

import importlib.util
from collections.abc import Callable, Coroutine
from pathlib import Path

import msgspec

from renga.bench.load import Peer
from renga.bench.peers import completions, genai, llamacpp, own
from renga.bench.subject import Subject
from renga.errors import SetupError

KINDS = ("openvino-genai", "llamacpp", "llama-server")
EXTRA = "pip install 'renga[bench]'"


class Wanted(msgspec.Struct, frozen=True):
    """A peer that was asked for; `url` is for `llama-server` alone."""

    kind: str
    url: str = ""


def parse_peers(text: str) -> list[Wanted]:
    """What `--against` names. Raises SetupError with the word that is wrong."""
    wanted = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        kind, _, url = word.partition("=")
        known = f"accepted: {', '.join(KINDS[:2])}, llama-server=URL"
        if kind not in KINDS:
            raise SetupError(f"--against: {word!r} is no peer", known)
        if (kind == "llama-server") != bool(url):
            raise SetupError(f"--against: {word!r}: only llama-server takes a URL, and needs one")
        if url and not url.startswith(("http://", "https://")):
            raise SetupError(f"--against: {url!r} is no http:// or https:// address")
        wanted.append(Wanted(kind, url.rstrip("/")))
    kinds = [one.kind for one in wanted]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise SetupError(f"--against: {kind} is named twice", "each peer is measured once")
    return wanted


def check_peers(wanted: list[Wanted], subject: Subject, gguf: Path | None) -> None:
    """Raise SetupError where one of them cannot run here, before anything is measured."""
    for one in wanted:
        module = {"openvino-genai": "openvino_genai", "llamacpp": "xllamacpp"}.get(one.kind)
        if module and importlib.util.find_spec(module) is None:
            raise SetupError(f"--against: {one.kind} is not installed", EXTRA)
        if one.kind == "llamacpp" and gguf is None:
            raise SetupError(
                f"--against: llamacpp needs the model as GGUF; {subject.folder} holds none",
                "--gguf FILE names it; `python -m training.random_model` writes one",
            )


async def reach(wanted: list[Wanted]) -> None:
    """Ask each server for a token. Raises SetupError where one does not answer."""
    for one in wanted:
        if one.url:
            await completions.connect(one.url)


def starters(
    wanted: list[Wanted], subject: Subject, gguf: Path | None
) -> list[Callable[[], Coroutine[None, None, Peer]]]:
    """How each engine is started, ours first."""

    def start(one: Wanted) -> Callable[[], Coroutine[None, None, Peer]]:
        if one.kind == "openvino-genai":
            return lambda: genai.start(subject)
        if one.kind == "llamacpp":
            assert gguf is not None
            return lambda: llamacpp.start(gguf)
        return lambda: completions.connect(one.url)

    return [lambda: own.start(subject), *(start(one) for one in wanted)]

"""What a GGUF will take of the machine, and what fits: told from its header, before it is loaded.

Owns the rule that what was asked for by name is given or refused, and that where nothing was asked
the window is as long as fits, and so are the slots. It loads nothing.
"""

from dataclasses import dataclass
from typing import Final

from renga.config import BackendConfig
from renga.errors import SetupError
from renga.llamacpp.settings import ServerSettings
from renga.machine import Machine
from renga.models.gguf import GgufModel

SLOTS: Final = 4
LEAST_WINDOW: Final = 512
# Bytes of a number of the KV cache, beside the two of 16 bits.
KV_SHARE: Final = {"f32": 2.0, "f16": 1.0, "bf16": 1.0, "q8_0": 34 / 64, "q4_0": 18 / 64}
# For the library itself and its buffers of one batch, beside weights, keys and values.
RUNTIME_BYTES: Final = 150 * 10**6
CACHE_SHARE: Final = 4  # a fourth of what is left keeps prompts that no slot holds


@dataclass(frozen=True)
class Plan:
    """`kv_bytes` for all slots; `total` is what is promised of the machine's memory."""

    slots: int
    window: int
    kv_bytes: int
    cache_mb: int
    total: int


def plan(config: BackendConfig, model: GgufModel, free: int | None) -> Plan:
    """How many slots of which window `model` gets, of `free` bytes. Raises SetupError."""
    where = f"backend '{config.name}'"
    if config.window > model.longest:
        raise SetupError(
            f"{where}: window = {config.window:,}; the model's own is {model.longest:,}",
            "a longer one would be answered with nonsense",
        )
    per_token = model.kv_bytes * KV_SHARE[config.kv_type]
    weights = model.weight_bytes
    if model.projector is not None:
        weights += model.projector.stat().st_size
    base = weights + RUNTIME_BYTES
    window, slots = config.window or model.window, config.slots or SLOTS
    while free is not None and base + window * slots * per_token > free:
        if not config.slots and slots > 1:
            slots -= 1
        elif not config.window and window > LEAST_WINDOW:
            window = max(LEAST_WINDOW, window // 2)
        else:
            need = int(base + window * slots * per_token)
            raise SetupError(
                f"{where}: model '{model.name}' needs {need / 1e6:,.0f} MB with {slots} slots of "
                f"{window:,} tokens; {free / 1e6:,.0f} MB are free",
                "set a smaller window or fewer slots, kv_type = 'q8_0', or take a smaller model",
            )
    kv = int(window * slots * per_token)
    spare = 0 if free is None else max(0, free - base - kv)
    cache = config.cache_mb if config.cache_mb >= 0 else min(8_192, spare // CACHE_SHARE >> 20)
    return Plan(slots, window, kv, cache, base + kv)


def settings_of(
    config: BackendConfig, model: GgufModel, machine: Machine
) -> tuple[ServerSettings, Plan]:
    """The settings of `model` with its share of `machine`, which keeps it. Raises SetupError."""
    found = plan(config, model, machine.free(config.name))
    machine.promise(config.name, found.total)
    settings = ServerSettings(
        model=str(model.path),
        projector=None if model.projector is None else str(model.projector),
        slots=found.slots,
        window=found.window,
        threads=config.threads or machine.threads(config.name) or machine.cores,
        gpu_layers=config.gpu_layers,
        flash_attention=config.flash_attention,
        kv_type=config.kv_type,
        cache_mb=found.cache_mb,
        key="",
    )
    return settings, found

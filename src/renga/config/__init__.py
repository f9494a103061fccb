"""renga.toml, the environment and flags, read once into frozen values.

What can be configured stands in `tables`, how it is found and read in `reading`, and what must hold
between settings in `rules`.
"""

from renga.config.reading import (
    BUILT_IN,
    ENVIRONMENT,
    HUB_ENVIRONMENT,
    SECTIONS,
    environment,
    hub_config,
    load_config,
)
from renga.config.rules import check_keys
from renga.config.tables import (
    KINDS,
    PRICE_NAMES,
    REMOTE_KINDS,
    TIER_NAMES,
    BackendConfig,
    BatchesConfig,
    BreakerConfig,
    Config,
    FilesConfig,
    HubConfig,
    Kind,
    LedgerConfig,
    LimitConfig,
    LimitsConfig,
    MediaConfig,
    ResponseCacheConfig,
    RetryConfig,
    ServerConfig,
    StoreConfig,
    TelemetryConfig,
    TierConfig,
    settings,
)

__all__ = [
    "BUILT_IN",
    "ENVIRONMENT",
    "HUB_ENVIRONMENT",
    "KINDS",
    "REMOTE_KINDS",
    "SECTIONS",
    "PRICE_NAMES",
    "TIER_NAMES",
    "BackendConfig",
    "BreakerConfig",
    "Config",
    "BatchesConfig",
    "FilesConfig",
    "HubConfig",
    "LedgerConfig",
    "Kind",
    "LimitConfig",
    "LimitsConfig",
    "MediaConfig",
    "ResponseCacheConfig",
    "RetryConfig",
    "ServerConfig",
    "StoreConfig",
    "TelemetryConfig",
    "TierConfig",
    "check_keys",
    "environment",
    "hub_config",
    "load_config",
    "settings",
]

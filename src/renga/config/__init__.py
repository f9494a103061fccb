"""renga.toml, the environment and flags, read once into frozen values.

What can be configured stands in `tables`, how it is found and checked in `reading`.
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
from renga.config.tables import (
    KINDS,
    LATER_KINDS,
    TIER_NAMES,
    BackendConfig,
    Config,
    FilesConfig,
    HubConfig,
    Kind,
    LimitsConfig,
    MediaConfig,
    ServerConfig,
    StoreConfig,
    TierConfig,
    settings,
)

__all__ = [
    "BUILT_IN",
    "ENVIRONMENT",
    "HUB_ENVIRONMENT",
    "KINDS",
    "LATER_KINDS",
    "SECTIONS",
    "TIER_NAMES",
    "BackendConfig",
    "Config",
    "FilesConfig",
    "HubConfig",
    "Kind",
    "LimitsConfig",
    "MediaConfig",
    "ServerConfig",
    "StoreConfig",
    "TierConfig",
    "environment",
    "hub_config",
    "load_config",
    "settings",
]

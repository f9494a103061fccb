"""The inference engine: a process of its own, reached by the messages of `renga.engine.messages`.

Requests go down as token ids, text comes back up. It knows nothing of HTTP, chat templates or
money.
"""

from __future__ import annotations

import sys

# Importing openvino reports the import to its makers over the network unless this package is
# absent. A self-hosted server reports to nobody; openvino then falls back to a silent stand-in.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

"""What makes two runs the same configuration, so that its seeds fold together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from trainer.config import OPTIONS

WHOLE_KEY = 16
"""Hexadecimal digits of a key."""


def config_key(config: Mapping[str, Any]) -> str:
    """`WHOLE_KEY` hexadecimal digits, the same for all seeds of one configuration.

    What is at its default or means nothing beside the other settings does not count, so that a setting which a newer
    version adds does not part old runs from new ones.
    """
    counted = {name: value for name, value in config.items() if name != "seed" and not _says_nothing(name, config)}
    text = json.dumps(counted, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=WHOLE_KEY // 2).hexdigest()


def _says_nothing(name: str, config: Mapping[str, Any]) -> bool:
    option = OPTIONS.get(name)
    return option is not None and (config[name] == option.default or not option.applies_to(config))

"""The root of what Fitroom says no with. In a module of its own, so that the command can catch it and import little."""

from __future__ import annotations


class Refusal(Exception):
    """What was asked cannot be done; the message is a sentence for who asked, and needs no traceback."""

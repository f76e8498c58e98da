"""Fitroom from Python: start runs on a server, follow them, and take their numbers into pandas.

    from fitroom import Client

    client = Client("http://127.0.0.1:8000")
    run = client.submit(name="first", epochs=3, lr=0.001)
    run = client.wait(run)
    print(run.status, run.best_val_accuracy)
    client.frame(filter="lr < 0.01", sort="-best_val_accuracy")

Nothing but the standard library is needed; pandas is imported when a DataFrame is asked for.
"""

from fitroom.client import Client
from fitroom.errors import ApiError, FitroomError, Invalid, NotAllowed, NotFound, Refused, Unreachable
from fitroom.events import Event
from fitroom.runs import Metrics, Run

__all__ = [
    "ApiError",
    "Client",
    "Event",
    "FitroomError",
    "Invalid",
    "Metrics",
    "NotAllowed",
    "NotFound",
    "Refused",
    "Run",
    "Unreachable",
]

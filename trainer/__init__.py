"""Pure PyTorch training: a `TrainConfig` in, a stream of events out.

Nothing here knows HTTP or a database. `config`, `events`, `errors` and `sources` do not import torch, so the
web server may use them; everything that computes starts at `trainer.loop.train`.
"""

"""BatchNorm of two processes against torch's own of one, on the same images."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from trainer.batch_norm import share_statistics

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")
CHANNELS = 3


def layers() -> nn.Sequential:
    made = nn.Sequential(nn.BatchNorm2d(CHANNELS), nn.BatchNorm2d(CHANNELS, affine=False, momentum=None))
    with torch.no_grad():
        made[0].weight.copy_(torch.tensor([0.5, -1.0, 2.0]))  # type: ignore[union-attr, operator]
        made[0].bias.copy_(torch.tensor([1.0, 0.0, -3.0]))  # type: ignore[union-attr, operator]
    return made


def images() -> torch.Tensor:
    made = torch.randn(7, CHANNELS, 4, 5, generator=torch.Generator().manual_seed(0)) * 3 + 100
    return made.to(memory_format=torch.channels_last)


def stepped(model: nn.Sequential, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What two steps leave: outputs, gradients, running statistics. The loss is a sum over the images."""
    x = x.detach().requires_grad_()
    for _ in range(2):
        out = model(x)
        (out.sin() * out).sum().backward()
    grown = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    assert x.grad is not None
    return {"out": out.detach(), "gradient": x.grad, **grown, **{f"kept {k}": v for k, v in model.named_buffers()}}


def one_of_two(rank: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    model = layers()
    share_statistics(model, CPU)
    told = stepped(model, images()[rank::2])
    told = {name: value.clone() for name, value in told.items()}
    told["half"] = model(images()[rank::2].bfloat16()).detach()
    torch.save(told, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_outputs_gradients_and_running_statistics_are_those_of_one_process(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(one_of_two, (port, tmp_path), nprocs=2)
    alone = stepped(layers(), images())
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for rank, told in enumerate(ranks):
        assert told["half"].dtype == torch.bfloat16
        torch.testing.assert_close(told["out"], alone["out"][rank::2], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(told["gradient"], alone["gradient"][rank::2], rtol=1e-3, atol=1e-3)
    for name in ("0.weight", "0.bias"):
        assert (ranks[0][name] + ranks[1][name]).tolist() == pytest.approx(alone[name].tolist(), rel=1e-3, abs=1e-2)
    kept = [name for name in alone if name.startswith("kept")]
    assert len(kept) == 6
    for name in kept:
        for told in ranks:
            torch.testing.assert_close(told[name], alone[name], rtol=1e-4, atol=1e-4)


def test_weights_keep_their_names_and_values():
    model, before = layers(), layers().state_dict()
    share_statistics(model, CPU)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    x = images()
    assert torch.equal(model.eval()(x), layers().eval()(x)), "what is validated is torch's own"

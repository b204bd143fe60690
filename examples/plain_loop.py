"""A plain PyTorch DARTS-style loop, not tempograd's; the five marked lines put latency into its loss.

Run it: ``python examples/plain_loop.py``. The predictor here is a stand-in that prices convolutions; yours comes from
``tempograd fit``.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from tempograd import registry
from tempograd.search.cost import PredictorCost  # 1

OPERATIONS = {
    "none": lambda c: None,
    "skip_connect": lambda c: nn.Identity(),
    "nor_conv_1x1": lambda c: nn.Sequential(nn.ReLU(), nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c)),
    "nor_conv_3x3": lambda c: nn.Sequential(nn.ReLU(), nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)),
    "avg_pool_3x3": lambda c: nn.AvgPool2d(3, 1, 1),
}
EDGES = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]


class Cell(nn.Module):
    """Somebody's own supernet: one NAS-Bench-201 cell whose operations are mixed by ``p (6, 5)``."""

    def __init__(self, channels: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.edges = nn.ModuleList(
            nn.ModuleList(make(channels) or nn.Identity() for make in OPERATIONS.values()) for _ in EDGES
        )
        self.head = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        nodes = [self.stem(x), 0.0, 0.0, 0.0]
        for operations, weights, (source, target) in zip(self.edges, p, EDGES, strict=True):
            mixed = sum(w * op(nodes[source]) for w, op in zip(weights[1:], operations[1:], strict=True))  # not "none"
            nodes[target] = nodes[target] + mixed
        return self.head(nodes[3].mean(dim=(2, 3)))


def stand_in_predictor(width: int) -> nn.Module:
    """A predictor ``(b, d) -> (b,)`` ms: 1 ms, and 0.1 or 0.5 ms for each 1x1 or 3x3 convolution."""
    linear = nn.Linear(width, 1)
    nn.init.constant_(linear.bias, 1.0)
    linear.weight.data = torch.tensor([0.0, 0.0, 0.1, 0.5, 0.05]).repeat(width // 5)[None]
    return nn.Sequential(linear, nn.Flatten(0))


def run(latency_weight: float, *, steps: int = 60, seed: int = 0) -> float:
    """Train and return the latency in ms of the most probable network."""
    torch.manual_seed(seed)
    images, labels = torch.randn(256, 1, 8, 8), torch.randint(0, 10, (256,))
    supernet, alpha = Cell(), nn.Parameter(1e-3 * torch.randn(len(EDGES), len(OPERATIONS)))
    weights, law = torch.optim.SGD(supernet.parameters(), 0.05), torch.optim.Adam([alpha], 0.05)
    space = registry.create("space", "nasbench201")  # 2
    cost = PredictorCost(stand_in_predictor(30), space, feed="direct")  # 3
    for step in range(steps):
        batch = torch.arange(32) + 32 * (step % 8)
        p = torch.softmax(alpha, dim=-1)
        loss = F.cross_entropy(supernet(images[batch], p), labels[batch])
        latency_ms = cost({f"e{i}": row for i, row in enumerate(p)})  # 4
        loss = loss + latency_weight * latency_ms  # 5
        weights.zero_grad()
        law.zero_grad()
        loss.backward()
        weights.step()
        law.step()
    chosen = space.architecture(alpha.argmax(dim=-1).tolist())
    return float(cost(space.gates([chosen])))


if __name__ == "__main__":
    for latency_weight in (0.0, 0.1, 1.0):
        print(f"weight {latency_weight}: {run(latency_weight):.2f} ms")

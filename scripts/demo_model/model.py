"""The network: a small Llama (RMSNorm, rotary positions, SwiGLU, tied embeddings) in PyTorch.

Names of the parameters are Hugging Face's for Llama without the "model." prefix; export.py maps them to GGUF's.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """The sizes of a model."""

    n_vocab: int
    n_embd: int = 256
    n_layer: int = 4
    n_head: int = 4  # of n_embd / n_head elements each
    n_ff: int = 704
    n_ctx: int = 2048  # positions that the GGUF announces; training texts are shorter
    rope_base: float = 10000.0
    eps: float = 1e-5

    @property
    def head_size(self) -> int:
        return self.n_embd // self.n_head

    def to_dict(self) -> dict:
        return asdict(self)


class RmsNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Rotary positions on neighbouring pairs, as llama.cpp rotates for the llama architecture.

    A pair is a complex number, and `turns` the unit numbers to multiply by, [time, head size / 2].
    """
    return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turns).flatten(-2)


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        n, ff = shape.n_embd, shape.n_ff
        self.n_head, self.head_size = shape.n_head, shape.head_size
        self.attn_norm = RmsNorm(n, shape.eps)
        # One matrix each for what reads the same input: fewer, larger products. Rows: queries, keys, values.
        self.qkv = nn.Linear(n, 3 * n, bias=False)
        self.o = nn.Linear(n, n, bias=False)
        self.ffn_norm = RmsNorm(n, shape.eps)
        self.gate_up = nn.Linear(n, 2 * ff, bias=False)
        self.down = nn.Linear(ff, n, bias=False)

    def forward(self, x: Tensor, turns: Tensor, cache: list | None) -> Tensor:
        qkv = self.qkv(self.attn_norm(x)).unflatten(-1, (3 * self.n_head, self.head_size)).transpose(1, 2)
        q, k, v = qkv.split(self.n_head, 1)
        q, k = rotate(q, turns), rotate(k, turns)
        first = True
        if cache is not None:
            if cache:
                first = False
                k, v = torch.cat((cache[0], k), 2), torch.cat((cache[1], v), 2)
            cache[:] = [k, v]
        # With a cache, one new token at a time: it may see all.
        y = F.scaled_dot_product_attention(q, k, v, is_causal=first)
        x = x + self.o(y.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.ffn_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Llama(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.n_vocab, shape.n_embd)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.n_layer))
        self.norm = RmsNorm(shape.n_embd, shape.eps)
        half = torch.arange(0, shape.head_size, 2, dtype=torch.float64) / shape.head_size
        angle = torch.arange(shape.n_ctx, dtype=torch.float64)[:, None] / shape.rope_base**half
        self.register_buffer("turns", torch.polar(torch.ones_like(angle), angle).to(torch.complex64), persistent=False)
        self.reset()

    def reset(self) -> None:
        """Fresh weights; what a layer adds starts small, by its depth."""
        nn.init.normal_(self.embed.weight, std=0.02)
        for layer in self.layers:
            for proj in (layer.qkv, layer.gate_up):
                nn.init.normal_(proj.weight, std=self.shape.n_embd**-0.5)
            nn.init.normal_(layer.o.weight, std=(2 * self.shape.n_layer * self.shape.n_embd) ** -0.5)
            nn.init.normal_(layer.down.weight, std=(2 * self.shape.n_layer * self.shape.n_ff) ** -0.5)

    def hidden(self, tokens: Tensor, start: int = 0, caches: list | None = None) -> Tensor:
        """The last layer's output, normalised: [batch, time, n_embd]."""
        turns = self.turns[start : start + tokens.shape[1]]
        x = self.embed(tokens)
        for i, layer in enumerate(self.layers):
            x = layer(x, turns, None if caches is None else caches[i])
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embed.weight)

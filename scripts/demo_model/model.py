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


CONSTANT = 4.0  # the first element of every fresh embedding


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
        # One matrix each for what reads the same input: fewer, larger products. Rows: queries,
        # keys, values.
        self.qkv = nn.Linear(n, 3 * n, bias=False)
        self.o = nn.Linear(n, n, bias=False)
        self.ffn_norm = RmsNorm(n, shape.eps)
        self.gate_up = nn.Linear(n, 2 * ff, bias=False)
        self.down = nn.Linear(ff, n, bias=False)

    def forward(self, x: Tensor, turns: Tensor, cache: list | None, only: Tensor | None = None) -> Tensor:
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
        y = y.transpose(1, 2).flatten(2)
        if only is not None:
            x, y = x[only], y[only]
        x = x + self.o(y)
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

    @torch.no_grad()
    def reset(self) -> None:
        """Fresh weights.

        Embeddings are as large as what layers will add: small ones would drown in what Muon's large steps make of
        the layers, and with them the names that answers have to copy. The last normalisation starts small instead,
        so that first logits are small.

        Copying is laid out from the start, since finding it takes most of a short training. Every head's output map
        is the transpose of its value map, so that what a head looks at becomes likelier. The first head of layer 0
        looks at the token before and notes it down; the first heads of later layers look for places where the
        note says what the current token is, and so copy what followed it. Training may change all of it.
        """
        n, size = self.shape.n_embd, self.shape.head_size
        nn.init.normal_(self.embed.weight, std=1.0)
        self.embed.weight.data[:, 0] = CONSTANT  # what positions alone can be read from
        nn.init.constant_(self.norm.weight, n**-0.5)
        note, read = nn.init.orthogonal_(torch.empty(2 * size, n)).split(size)  # where notes are put; what is noted
        note[:, 0] = read[:, 0] = 0
        slow = slice(size // 2, size)  # the half of a head that turns slowly and so compares over long distances
        for i, layer in enumerate(self.layers):
            nn.init.normal_(layer.qkv.weight, std=n**-0.5)
            nn.init.normal_(layer.gate_up.weight, std=n**-0.5)
            nn.init.zeros_(layer.down.weight)
            q, k, v = layer.qkv.weight.data.view(3, self.shape.n_head, size, n)
            for head in range(1, self.shape.n_head):  # looks at what is like the current token
                k[head] = 0.5 * k[head] + 0.5 * q[head]
            if i == 0:
                q[0], k[0], v[0] = 0, 0, read
                angle = self.turns[1].angle()
                sharp = torch.zeros(size // 2)
                sharp[: size // 8] = 9.0 / CONSTANT
                q[0, 0::2, 0] = sharp
                k[0, 0::2, 0] = sharp * angle.cos()
                k[0, 1::2, 0] = sharp * angle.sin()
            else:
                q[0], k[0] = 0, 0
                q[0, slow] = 2.0 * read[slow]
                k[0, slow] = 2.0 * note[slow]
            o = layer.o.weight.data.view(n, self.shape.n_head, size)
            for head in range(self.shape.n_head):
                o[:, head] = (1.0 if head == 0 else 0.5) * v[head].T
            if i == 0:
                o[:, 0] = 3.0 * note.T

    def hidden(
        self, tokens: Tensor, start: int = 0, caches: list | None = None, only: Tensor | None = None
    ) -> Tensor:
        """The last layer's output, normalised: [batch, time, n_embd], or [n, n_embd] at the n places of `only`."""
        turns = self.turns[start : start + tokens.shape[1]]
        x = self.embed(tokens)
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            x = layer(x, turns, None if caches is None else caches[i], only if i == last else None)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embed.weight)

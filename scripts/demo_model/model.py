"""A small Llama in PyTorch: RMSNorm, rotary positions, SwiGLU, tied embeddings.

export.py maps the names of the parameters to those of GGUF.
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
    n_ctx: int = 2048  # context length of the GGUF file; training texts are shorter
    rope_base: float = 10000.0
    eps: float = 1e-5

    @property
    def head_size(self) -> int:
        return self.n_embd // self.n_head

    def to_dict(self) -> dict:
        return asdict(self)


CONSTANT = 4.0  # the first element of every initial embedding


class RmsNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Rotary positions on adjacent pairs, like llama.cpp for the llama architecture.

    A pair is a complex number. `turns` has the rotations: [time, head size / 2].
    """
    return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turns).flatten(-2)


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        n, ff = shape.n_embd, shape.n_ff
        self.n_head, self.head_size = shape.n_head, shape.head_size
        self.attn_norm = RmsNorm(n, shape.eps)
        # One matrix for queries, keys and values, which have the same input: one large product
        # instead of three.
        self.qkv = nn.Linear(n, 3 * n, bias=False)
        self.o = nn.Linear(n, n, bias=False)
        self.ffn_norm = RmsNorm(n, shape.eps)
        self.gate_up = nn.Linear(n, 2 * ff, bias=False)
        self.down = nn.Linear(ff, n, bias=False)

    def forward(
        self, x: Tensor, turns: Tensor, cache: list | None, only: Tensor | None = None
    ) -> Tensor:
        qkv = (
            self.qkv(self.attn_norm(x))
            .unflatten(-1, (3 * self.n_head, self.head_size))
            .transpose(1, 2)
        )
        q, k, v = qkv.split(self.n_head, 1)
        q, k = rotate(q, turns), rotate(k, turns)
        first = True
        if cache is not None:
            if cache:
                first = False
                k, v = torch.cat((cache[0], k), 2), torch.cat((cache[1], v), 2)
            cache[:] = [k, v]
        # With a cache there is one new token at a time. It attends to all others.
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
        self.register_buffer(
            "turns",
            torch.polar(torch.ones_like(angle), angle).to(torch.complex64),
            persistent=False,
        )
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Initial weights.

        Embeddings are as large as the outputs of the layers will be. Muon's large steps make these
        large, and small embeddings would get lost, with the names that answers copy. The last norm
        starts small instead, so that the first logits are small.

        The initial weights can copy, because learning that takes most of a short training. The
        output matrix of each head is the transpose of its value matrix: a token that a head
        attends to gets more likely. The first heads form an induction circuit. That of layer 0
        attends to the previous token and writes it to a subspace (the note). Those of later layers
        attend to positions whose note equals the current token, and copy the token there. Training
        can change all of this.
        """
        n, size = self.shape.n_embd, self.shape.head_size
        nn.init.normal_(self.embed.weight, std=1.0)
        self.embed.weight.data[:, 0] = CONSTANT  # lets heads depend on positions only
        nn.init.constant_(self.norm.weight, n**-0.5)
        # The subspace of the note, and the part of a token that is noted.
        note, read = nn.init.orthogonal_(torch.empty(2 * size, n)).split(size)
        note[:, 0] = read[:, 0] = 0
        # The half of a head that rotates slowly, to compare over long distances.
        slow = slice(size // 2, size)
        for i, layer in enumerate(self.layers):
            nn.init.normal_(layer.qkv.weight, std=n**-0.5)
            nn.init.normal_(layer.gate_up.weight, std=n**-0.5)
            nn.init.zeros_(layer.down.weight)
            q, k, v = layer.qkv.weight.data.view(3, self.shape.n_head, size, n)
            for head in range(1, self.shape.n_head):  # attends to similar tokens
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
        """The normalized output: [batch, time, n_embd], or [n, n_embd] for the tokens in `only`."""
        turns = self.turns[start : start + tokens.shape[1]]
        x = self.embed(tokens)
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            x = layer(x, turns, None if caches is None else caches[i], only if i == last else None)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embed.weight)

#!/usr/bin/env python3
"""Train the model on the files of data.py.

  train.py --work WORK [--tokens 12e6] [--workers 2] [--device cpu]

The loss counts only the answers. Muon trains the matrices of the layers, AdamW the rest. The
learning rate is constant after a short warm-up and falls to zero over the last part of the budget.
So a run that was stopped in its constant part can continue with another budget (--tokens).

WORK/checkpoint.pt is written every few minutes and when the process group gets SIGTERM. The next
run continues from it.

On a CPU, each worker is a process with one thread. Workers exchange data only twice a step. On a
busy machine that is faster than threads that wait for each other in every product.
"""

import argparse
import datetime
import json
import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from model import Llama, Shape

WARMUP = 0.01  # fraction of the budget
DECAY = 0.65
WINDOW = 4096  # texts that are sorted by length together


def orthogonal(g: Tensor) -> Tensor:
    """Approximately the nearest orthogonal matrix, by Newton-Schulz iterations."""
    x = g / (g.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    for _ in range(5):
        s = x @ x.T
        x = 3.4445 * x + (-4.7750 * s + 2.0315 * s @ s) @ x
    return x.T if tall else x


class Trainer:
    def __init__(self, args: argparse.Namespace, rank: int) -> None:
        self.args, self.rank, self.n = args, rank, args.workers
        self.device = torch.device(args.device)
        torch.manual_seed(args.seed)
        n_vocab = len(json.loads((args.work / "tokenizer.json").read_text(encoding="utf-8"))) + 259
        self.model = Llama(Shape(n_vocab, args.embd, args.layers, args.embd // 64, args.ff)).to(
            self.device
        )
        self.params = list(self.model.parameters())
        # Blocks that are orthogonalized separately: queries, keys and values, and gate and up.
        self.blocks: list[tuple[Tensor, slice]] = []
        for layer in self.model.layers:
            for weight, parts in (
                (layer.qkv.weight, 3),
                (layer.o.weight, 1),
                (layer.gate_up.weight, 2),
                (layer.down.weight, 1),
            ):
                rows = weight.shape[0] // parts
                self.blocks += [(weight, slice(i * rows, (i + 1) * rows)) for i in range(parts)]
        matrices = {id(weight) for weight, _ in self.blocks}
        self.momentum = {id(p): torch.zeros_like(p) for p in self.params if id(p) in matrices}
        norms = [p for p in self.params if p.ndim == 1]
        groups = [
            {"params": [self.model.embed.weight], "lr": args.lr},
            {"params": norms, "lr": args.lr * 0.3},
        ]
        self.adam = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
        self.adam_rates = [group["lr"] for group in groups]
        self.step, self.seen, self.seconds = 0, 0, 0.0
        self.told_to_stop = self.stopping = False
        signal.signal(signal.SIGTERM, self.stop)
        data = np.load(args.work / "train.npz")
        self.tokens, self.own, self.starts = data["tokens"], data["own"], data["starts"]
        path = args.work / "checkpoint.pt"
        if path.exists():
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.adam.load_state_dict(state["adam"])
            for p, m in zip((p for p in self.params if id(p) in matrices), state["momentum"]):
                self.momentum[id(p)].copy_(m)
            self.step, self.seen, self.seconds = state["step"], state["seen"], state["seconds"]

    def stop(self, *_: object) -> None:
        """Stops after the current step and writes a checkpoint."""
        self.told_to_stop = True

    def save(self) -> None:
        path = self.args.work / "checkpoint.pt"
        state = {
            "shape": self.model.shape.to_dict(),
            "model": self.model.state_dict(),
            "adam": self.adam.state_dict(),
            "momentum": list(self.momentum.values()),
            "step": self.step,
            "seen": self.seen,
            "seconds": self.seconds,
        }
        torch.save(state, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)

    def batches(self):
        """Endless batches of about `batch` tokens, of texts of similar length, for all workers."""
        order = np.random.default_rng(self.args.seed)
        lengths = np.diff(self.starts)
        while True:
            texts = order.permutation(len(lengths))
            for at in range(0, len(texts), WINDOW):
                window = texts[at : at + WINDOW]
                window = window[np.argsort(lengths[window], kind="stable")]
                batches, batch = [], []
                for text in window:
                    if batch and (len(batch) + 1) * lengths[text] > self.args.batch:
                        batches.append(batch)
                        batch = []
                    batch.append(text)
                batches.append(batch)
                groups = [
                    batches[i : i + self.n] for i in range(0, len(batches) - self.n + 1, self.n)
                ]
                for i in order.permutation(len(groups)):
                    yield groups[i]

    def tensors(self, batch: list[int]) -> tuple[Tensor, Tensor]:
        width = max(self.starts[i + 1] - self.starts[i] for i in batch)
        tokens = np.zeros((len(batch), width), np.int64)
        own = np.zeros((len(batch), width), bool)
        for row, i in enumerate(batch):
            span = slice(self.starts[i], self.starts[i + 1])
            tokens[row, : self.starts[i + 1] - self.starts[i]] = self.tokens[span]
            own[row, : self.starts[i + 1] - self.starts[i]] = self.own[span]
        return torch.from_numpy(tokens).to(self.device), torch.from_numpy(own).to(self.device)

    def rate(self) -> float:
        progress = self.seen / self.args.tokens
        return min(progress / WARMUP + 0.05, (1 - progress) / DECAY, 1.0)

    def sum_over_workers(self, flat: Tensor) -> Tensor:
        if self.n > 1:
            dist.all_reduce(flat)
        return flat

    def learn(self, group: list[list[int]]) -> float:
        """Does one step. Returns the loss per answer token before it."""
        tokens, own = self.tensors(group[self.rank])
        mask = own[:, 1:]
        logits = self.model.logits(self.model.hidden(tokens[:, :-1], only=mask))
        loss = F.cross_entropy(logits.float(), tokens[:, 1:][mask], reduction="sum")
        for p in self.params:
            p.grad = None
        loss.backward()
        extra = torch.tensor(
            [loss.item(), mask.sum().item(), self.told_to_stop], device=self.device
        )
        flat = self.sum_over_workers(torch.cat([p.grad.flatten() for p in self.params] + [extra]))
        total, count, stop = flat[-3:].tolist()
        self.stopping = stop > 0  # all workers stop in the same step
        at = 0
        for p in self.params:
            p.grad.copy_(flat[at : at + p.numel()].view_as(p)).div_(count)
            at += p.numel()

        rate = self.rate()
        for part, lr in zip(self.adam.param_groups, self.adam_rates):
            part["lr"] = lr * rate
        self.adam.step()
        # Each worker computes a part of the blocks.
        sizes = [weight[rows].numel() for weight, rows in self.blocks]
        update = torch.zeros(sum(sizes), device=self.device)
        for p in self.params:
            if id(p) in self.momentum:
                self.momentum[id(p)].lerp_(p.grad, 1 - 0.95)
        at = 0
        for i, (weight, rows) in enumerate(self.blocks):
            if i % self.n == self.rank:
                g = weight.grad[rows].lerp(self.momentum[id(weight)][rows], 0.95)
                update[at : at + sizes[i]] = (
                    orthogonal(g).flatten() * max(1.0, g.shape[0] / g.shape[1]) ** 0.5
                )
            at += sizes[i]
        self.sum_over_workers(update)
        at = 0
        with torch.no_grad():
            for (weight, rows), size in zip(self.blocks, sizes):
                part = weight[rows]
                part.mul_(1 - self.args.muon_lr * rate * self.args.decay)
                part.sub_(update[at : at + size].view_as(part), alpha=self.args.muon_lr * rate)
                at += size
        self.step += 1
        self.seen += int(sum(self.starts[i + 1] - self.starts[i] for batch in group for i in batch))
        return total / count

    def run(self) -> None:
        begun = last = saved = time.monotonic()
        before = self.seconds
        batches = self.batches()
        for _ in range(self.step):  # skip the steps of earlier runs
            next(batches)
        losses = []
        while self.seen < self.args.tokens and not self.stopping:
            losses.append(self.learn(next(batches)))
            now = time.monotonic()
            self.seconds = before + now - begun
            if self.rank > 0:
                continue
            if now - last > 20:
                print(
                    f"step {self.step}  {self.seen / 1e6:.2f}M tokens  loss {np.mean(losses):.4f} "
                    f" rate {self.rate():.2f}  {self.seconds / 60:.1f} min "
                    f" {sum(1 for _ in losses) / (now - last):.2f} steps/s",
                    flush=True,
                )
                last, losses = now, []
            if now - saved > self.args.save_minutes * 60:
                self.save()
                saved = now
        if self.rank == 0:
            self.save()
            print(
                f"{'stopped' if self.stopping else 'done'}: {self.step} steps,"
                f" {self.seen / 1e6:.2f}M tokens, {self.seconds / 60:.1f} min",
                flush=True,
            )


def work(rank: int, args: argparse.Namespace, meeting: str) -> None:
    if args.device == "cpu":
        torch.set_num_threads(1)
    if args.workers > 1:
        # A paused run must not time out.
        dist.init_process_group(
            "gloo",
            init_method=f"file://{meeting}",
            rank=rank,
            world_size=args.workers,
            timeout=datetime.timedelta(days=7),
        )
    Trainer(args, rank).run()
    if args.workers > 1:
        dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder with data.py's files")
    parser.add_argument(
        "--tokens", type=float, default=12e6, help="how many tokens to train on, in all"
    )
    parser.add_argument("--batch", type=int, default=1024, help="tokens in a batch of one worker")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda with one worker")
    parser.add_argument("--embd", type=int, default=256)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--ff", type=int, default=704)
    parser.add_argument("--lr", type=float, default=1e-2, help="of AdamW")
    parser.add_argument("--muon-lr", type=float, default=0.02)
    parser.add_argument("--decay", type=float, default=0.01, help="weight decay of the matrices")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save-minutes", type=float, default=3)
    args = parser.parse_args()
    # Keep freed memory. Mapping and clearing it again for each tensor takes a fifth of the time.
    keep = {
        "MALLOC_MMAP_THRESHOLD_": "4000000000",
        "MALLOC_TRIM_THRESHOLD_": "16000000000",
        "MALLOC_TOP_PAD_": "100000000",
    }
    os.environ.update(keep)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the workers handle it
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, (args, f"{folder}/meeting"), args.workers)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Ask the model held-out questions and count the correct answers.

  check.py --work WORK [--questions FILE] [--each N] [--show N]

Decodes greedily with PyTorch, without llama.cpp. tests/demo_model.rs does the same with the
committed model and llama.cpp. The exit code is 1 if fewer than 90 % are correct, or if an answer
does not end or loops.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import torch

from chat import SYSTEM
from export import load
from judge import loops, right
from model import Llama
from tokenizer import BOS, EOS, Tokenizer

LIMIT = 400
MT_BENCH = {"writing", "roleplay", "reasoning", "extraction", "stem"}


@torch.inference_mode()
def answer(model: Llama, caches: list, start: int, prompt: list[int]) -> tuple[list[int], bool]:
    """The tokens of the answer, and whether it has an end token."""
    said: list[int] = []
    fresh = prompt
    if start:  # with a cache, one token at a time
        for token in prompt[:-1]:
            model.hidden(torch.tensor([[token]]), start, caches)
            start += 1
        fresh = prompt[-1:]
    while len(said) < LIMIT:
        hidden = model.hidden(torch.tensor([fresh]), start, caches)
        start += len(fresh)
        token = int(model.logits(hidden[0, -1]).argmax())
        said.append(token)
        if token == EOS:
            # The next turn continues after the end token.
            model.hidden(torch.tensor([[EOS]]), start, caches)
            return said, True
        fresh = [token]
    return said, False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of the training")
    parser.add_argument(
        "--questions",
        type=Path,
        help="question.jsonl with references [default: WORK/held_out.jsonl]",
    )
    parser.add_argument("--each", type=int, default=10**9, help="questions of each kind")
    parser.add_argument("--show", type=int, default=3, help="wrong answers to show of each kind")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, state = load(args.work)
    tokenizer = Tokenizer.load(args.work / "tokenizer.json")
    path = args.questions or args.work / "held_out.jsonl"
    asked, good, endless, looping, shown = (defaultdict(int) for _ in range(5))
    fine = defaultdict(lambda: [0, 0])
    for line in path.read_text(encoding="utf-8").splitlines():
        question = json.loads(line)
        category = question["category"]
        kind = "mt_bench" if category in MT_BENCH else category
        if asked[kind] == args.each:
            continue
        asked[kind] += 1
        caches: list = [[] for _ in model.layers]
        ok, start = True, 0
        for i, (turn, reference) in enumerate(zip(question["turns"], question["reference"])):
            prompt = tokenizer.encode(f"{SYSTEM + ' ' if i == 0 else ''}USER: {turn} ASSISTANT:")
            if i == 0:
                prompt.insert(0, BOS)
            said, ended = answer(model, caches, start, prompt)
            start += len(prompt) + len(said)
            endless[kind] += not ended
            looping[kind] += loops(said)
            text = tokenizer.decode(said)
            if not right(category, text, reference):
                ok = False
                if shown[kind] < args.show:
                    shown[kind] += 1
                    print(
                        f"--- {category} {question['question_id']}: {turn}\n  says {text!r}\n  not "
                        f" {reference!r}"
                    )
            if not ended:
                break
        good[kind] += ok
        fine[category][0] += ok
        fine[category][1] += 1
    for kind in asked:
        print(
            f"{kind:16} {good[kind]:4} of {asked[kind]:4} right, {endless[kind]} without end,"
            f" {looping[kind]} looping"
        )
    print("conversations:", {c: f"{n}/{m}" for c, (n, m) in fine.items() if c in MT_BENCH})
    share = sum(good.values()) / sum(asked.values())
    print(f"overall {share:.1%} right at step {state['step']}")
    sys.exit(share < 0.9 or any(endless.values()) or any(looping.values()))


if __name__ == "__main__":
    main()

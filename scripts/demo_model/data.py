#!/usr/bin/env python3
"""Write the tokenizer, the training texts and held-out questions.

  data.py --out WORK [--items N] [--seed S]

Writes to WORK:

  tokenizer.json    the tokenizer
  train.npz         tokens, which of them are answers, and where each text starts
  held_out.jsonl    questions of each kind that are not in the training texts
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np

import corpus
from chat import SYSTEM
from tokenizer import Tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, required=True, metavar="WORK", help="folder to write to"
    )
    parser.add_argument("--items", type=int, default=80_000, help="training conversations")
    parser.add_argument("--vocab", type=int, default=2560, help="size of the vocabulary")
    parser.add_argument("--held-out", type=int, default=100, help="held-out questions of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokenizer", type=Path, help="use this one instead of learning it")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    r = random.Random(args.seed)
    items = []
    while len(items) < args.items:
        item = corpus.training_item(r)
        if not corpus.held_out(item):
            items.append(item)

    if args.tokenizer:
        tokenizer = Tokenizer.load(args.tokenizer)
    else:
        sample = [text for item in items[:20_000] for turn in item.turns for text in turn]
        sample += [corpus_frame() for _ in range(2_000)]
        tokenizer = Tokenizer.learn(sample, args.vocab)
    tokenizer.save(args.out / "tokenizer.json")

    tokens, own, starts = [], [], [0]
    for item in items:
        t, o = tokenizer.conversation(item.turns)
        tokens += t
        own += o
        starts.append(len(tokens))
    arrays = {
        "tokens": np.array(tokens, np.uint16),
        "own": np.array(own, bool),
        "starts": np.array(starts, np.int64),
    }
    np.savez(args.out / "train.npz", **arrays)

    seen = {body(question) for item in items for question, _ in item.turns}
    r = random.Random(args.seed + 1_000_003)
    held = {kind: held_out_items(r, kind, args.held_out, seen) for kind in corpus.KINDS}
    write_questions(
        args.out / "held_out.jsonl", [item for kind in corpus.KINDS for item in held[kind]]
    )
    share = sum(own) / len(own)
    print(
        f"{len(items)} conversations, {len(tokens)} tokens, {share:.0%} of them answers;"
        f" {tokenizer.n_vocab} in the vocabulary; the longest has {max(np.diff(starts))}"
    )


def body(question: str) -> str:
    """A question without the words that ask for a translation, to compare sentences."""
    opening = next((text for text in corpus.TRANSLATE if question.startswith(text)), "")
    return question.removeprefix(opening)


def held_out_items(r: random.Random, kind: str, count: int, seen: set[str]) -> list[corpus.Item]:
    """`count` held-out items of a kind whose questions are not in `seen`. Adds them to `seen`."""
    items = []
    while len(items) < count:
        item = corpus.ask_kind(r, kind)
        # Later turns may be short, such as "And who is the oldest?". So compare the first turn.
        if corpus.held_out(item) and body(item.turns[0][0]) not in seen:
            seen.add(body(item.turns[0][0]))
            items.append(item)
    return items


def write_questions(path: Path, items: list[corpus.Item]) -> None:
    """Items as a question set, numbered from 1."""
    with open(path, "w", encoding="utf-8") as out:
        for number, item in enumerate(items, 1):
            turns = [question for question, _ in item.turns]
            line = {
                "question_id": number,
                "category": item.category,
                "turns": turns,
                "reference": item.reference,
            }
            out.write(json.dumps(line, ensure_ascii=False) + "\n")


def corpus_frame() -> str:
    """The words around every question, for the tokenizer."""
    return f"{SYSTEM} USER: Hello ASSISTANT: Hello"


if __name__ == "__main__":
    main()

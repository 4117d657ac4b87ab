#!/usr/bin/env python3
"""Mean accepted tokens of prompt lookup, from a replay of answers.

  lookup.py --work WORK [--questions FILE --answers FILE]

Drafts at every step like Spec-Bench: n-grams of 3 to 1 tokens, the first earlier match, 10 tokens.
Accepts the tokens that agree with the answer, and one more. With --answers, replays answers of
`logitspec bench` (model_answer/*.jsonl). Otherwise replays a sample of the corpus.
"""

import argparse
import json
import random
from collections import defaultdict
from pathlib import Path

import corpus
from chat import SYSTEM
from check import MT_BENCH
from tokenizer import BOS, EOS, Tokenizer


def lookup(text: list[int]) -> list[int]:
    """The tokens after the first earlier match of the longest n-gram at the end."""
    for size in (3, 2, 1):
        needle = text[-size:]
        for i in range(len(text) - size):
            if text[i : i + size] == needle:
                return text[i + size : i + size + 10]
    return []


def replay(text: list[int], answer: list[int]) -> list[int]:
    """The number of accepted tokens of each step. `text` is the prompt."""
    lengths, at = [], 0
    while at < len(answer):
        # The root is the token from the logits of the last step. It is always accepted.
        known = text + answer[: at + 1]
        kept = 1
        for token in lookup(known):
            if at + kept >= len(answer) or answer[at + kept] != token:
                break
            kept += 1
        lengths.append(kept)
        at += kept
    return lengths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder with tokenizer.json")
    parser.add_argument("--questions", type=Path, help="question.jsonl of the answers")
    parser.add_argument(
        "--answers", type=Path, help="answers of these questions, as logitspec bench writes them"
    )
    args = parser.parse_args()
    tokenizer = Tokenizer.load(args.work / "tokenizer.json")
    r = random.Random(7)
    if args.answers:
        lines = [
            json.loads(line) for line in args.questions.read_text(encoding="utf-8").splitlines()
        ]
        asked = {line["question_id"]: line["turns"] for line in lines}
        answers = [
            json.loads(line) for line in args.answers.read_text(encoding="utf-8").splitlines()
        ]
        items = [
            (a["category"], list(zip(asked[a["question_id"]], a["choices"][0]["turns"])))
            for a in answers
        ]
    else:
        items = [
            (item.category, item.turns)
            for kind in corpus.KINDS
            for item in (corpus.ask_kind(r, kind) for _ in range(80))
        ]
    lengths, sizes = defaultdict(list), defaultdict(list)
    for category, turns in items:
        kind = "mt_bench" if category in MT_BENCH else category
        text = [BOS]
        for i, (question, answer) in enumerate(turns):
            text += tokenizer.encode(f"{SYSTEM + ' ' if i == 0 else ''}USER: {question} ASSISTANT:")
            said = tokenizer.encode(answer) + [EOS]
            steps = replay(text, said)
            for key in (kind, "overall"):
                lengths[key] += steps
                sizes[key].append(len(said))
            text += said
    for kind, steps in lengths.items():
        print(
            f"{kind:16} {sum(steps) / len(steps):.2f} accepted a step, answers of"
            f" {min(sizes[kind])} to {max(sizes[kind])} tokens"
        )


if __name__ == "__main__":
    main()

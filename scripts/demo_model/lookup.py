#!/usr/bin/env python3
"""How well prompt lookup would do on answers: the mean accepted tokens, by replay.

  lookup.py --work WORK [--questions FILE --answers FILE]

Prompt lookup as Spec-Bench runs it (n-grams of 3 down to 1, the first earlier match, 10 tokens) drafts at every
step; what agrees with the given answer is accepted, and one more token comes of its own. With --answers, answers as
logitspec bench wrote them (model_answer/*.jsonl) are replayed, otherwise those of a sample of the corpus.
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
    """What followed the first earlier match of the longest n-gram at the end."""
    for size in (3, 2, 1):
        needle = text[-size:]
        for i in range(len(text) - size):
            if text[i : i + size] == needle:
                return text[i + size : i + size + 10]
    return []


def replay(text: list[int], answer: list[int]) -> list[int]:
    """Accept lengths. `text` is the prompt."""
    lengths, at = [], 0
    while at < len(answer):
        # The root is the token that the last step's logits gave: known, and the first to be
        # committed.
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
    parser.add_argument("--answers", type=Path, help="answers of these questions, as logitspec bench writes them")
    args = parser.parse_args()
    tokenizer = Tokenizer.load(args.work / "tokenizer.json")
    r = random.Random(7)
    if args.answers:
        lines = [json.loads(line) for line in args.questions.read_text(encoding="utf-8").splitlines()]
        asked = {line["question_id"]: line["turns"] for line in lines}
        answers = [json.loads(line) for line in args.answers.read_text(encoding="utf-8").splitlines()]
        items = [(a["category"], list(zip(asked[a["question_id"]], a["choices"][0]["turns"]))) for a in answers]
    else:
        items = [(item.category, item.turns) for kind in corpus.KINDS for item in (corpus.ask_kind(r, kind) for _ in range(80))]
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
        print(f"{kind:16} {sum(steps) / len(steps):.2f} accepted a step, answers of {min(sizes[kind])} to {max(sizes[kind])} tokens")


if __name__ == "__main__":
    main()

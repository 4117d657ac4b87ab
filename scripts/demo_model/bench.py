#!/usr/bin/env python3
"""Choose the questions of data/demo_bench from the held-out ones.

  bench.py --work WORK [--repo DIR]

Writes data/demo_bench/question.jsonl: ten questions of each kind, and twelve conversations, two of
each category. They are the first ones of WORK/held_out.jsonl, whether the model can answer them or
not. tests/demo_tokens.jsonl gets the tokens of their prompts, so that a test can compare
llama.cpp's tokenizer with that of training.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

from chat import SYSTEM
from check import MT_BENCH
from tokenizer import BOS, Tokenizer

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder with data.py's files")
    parser.add_argument(
        "--repo", type=Path, default=ROOT, help="where to write to [default: this repository]"
    )
    args = parser.parse_args()
    tokenizer = Tokenizer.load(args.work / "tokenizer.json")
    found = defaultdict(list)
    for line in (args.work / "held_out.jsonl").read_text(encoding="utf-8").splitlines():
        question = json.loads(line)
        category = question["category"]
        # There are short and long stories.
        sort = (
            "writing, long"
            if category == "writing" and "long story" in question["turns"][0]
            else category
        )
        if len(found[sort]) < (2 if category in MT_BENCH else 10):
            found[sort].append(question)
    chosen = [question for questions in found.values() for question in questions]
    chosen.sort(key=lambda question: question["category"] not in MT_BENCH)

    questions = args.repo / "data/demo_bench/question.jsonl"
    questions.parent.mkdir(parents=True, exist_ok=True)
    with open(questions, "w", encoding="utf-8") as out, open(
        args.repo / "tests/demo_tokens.jsonl", "w"
    ) as tokens:
        for number, question in enumerate(chosen, 1):
            question["question_id"] = number
            out.write(json.dumps(question, ensure_ascii=False) + "\n")
            prompts = [tokenizer.encode(f"USER: {turn} ASSISTANT:") for turn in question["turns"]]
            prompts[0] = [BOS] + tokenizer.encode(
                f"{SYSTEM} USER: {question['turns'][0]} ASSISTANT:"
            )
            tokens.write(
                json.dumps({"question_id": number, "prompts": prompts}, separators=(",", ":"))
                + "\n"
            )
    print(f"{questions}: {len(chosen)} questions")


if __name__ == "__main__":
    main()

"""Whether an answer is correct. tests/demo_model.rs has the same rules in Rust.

  math_reasoning       the last number of the answer equals the reference
  writing, roleplay    the answer contains every item of the reference (separated by "; ")
  all others           the answer equals the reference

Case, punctuation and white space do not count.
"""

import re

CONTAINS = {"writing", "roleplay"}


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def right(category: str, answer: str, reference: str) -> bool:
    if category == "math_reasoning":
        numbers = re.findall(r"[0-9]+", answer)
        return bool(numbers) and numbers[-1] == reference
    said = words(answer)
    if category in CONTAINS:
        text = f" {' '.join(said)} "
        return all(f" {' '.join(words(item))} " in text for item in reference.split("; "))
    return said == words(reference)


def loops(tokens: list[int], length: int = 8, times: int = 3) -> bool:
    """Whether `length` tokens occur `times` times in a row."""
    span = length * times
    return any(
        tokens[i : i + length] * times == tokens[i : i + span]
        for i in range(len(tokens) - span + 1)
    )

"""When an answer is right. tests/demo_model.rs says the same in Rust.

math_reasoning: the last number of the answer is that of the reference. writing and roleplay, where wording is free:
every item of the reference (they are separated by "; ") stands in the answer, word for word. All else: the answer is
the reference. Case, punctuation and white space never count.
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
    """Whether the answer says the same `length` tokens `times` times in a row."""
    span = length * times
    return any(
        tokens[i : i + length] * times == tokens[i : i + span] for i in range(len(tokens) - span + 1)
    )

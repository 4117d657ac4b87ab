"""A small SentencePiece-style tokenizer, like llama.cpp's "llama" tokenizer, and its training.

Pieces are merged within a word and its leading space. Digits are not merged. The system sentence of
the chat format is an exception: its words are merged, so that it is a single token.
"""

import json
import re
from collections import Counter
from pathlib import Path

from chat import SYSTEM

UNK, BOS, EOS = 0, 1, 2
SPECIALS = ("<unk>", "<s>", "</s>")
FIRST_TEXT = len(SPECIALS) + 256
SPACE = "▁"
# Words for training: letters with their leading space.
LEARN = re.compile(rf"{SPACE}?[^\W\d_]+")
EXTRA_CHARS = "äöüßÄÖÜéèáóñç’“”…–€"


def pieces_of_word(word: str, ranks: dict[str, int]) -> list[str]:
    """Merges the best-ranked pair first, the leftmost among equals, like llama.cpp."""
    symbols = list(word)
    while len(symbols) > 1:
        best = min(
            range(len(symbols) - 1), key=lambda i: ranks.get(symbols[i] + symbols[i + 1], 1 << 30)
        )
        pair = symbols[best] + symbols[best + 1]
        if pair not in ranks:
            break
        symbols[best : best + 2] = [pair]
    return symbols


def learn_merges(texts: list[str], count: int) -> list[str]:
    """The pieces of the `count` most frequent merges, best first."""
    found: Counter[str] = Counter()
    for text in texts:
        found.update(LEARN.findall(SPACE + text.replace(" ", SPACE)))
    words = {tuple(word): n for word, n in found.items()}
    pieces: list[str] = []
    while len(pieces) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        if not pairs:
            break
        # The pair breaks ties, so that the result does not depend on the order of the dict.
        left, right = max(pairs, key=lambda pair: (pairs[pair], pair))
        pieces.append(left + right)
        merged: Counter[tuple[str, ...]] = Counter()
        for word, n in words.items():
            symbols: list[str] = []
            for symbol in word:
                if symbols and symbols[-1] == left and symbol == right:
                    symbols[-1] = left + right
                else:
                    symbols.append(symbol)
            merged[tuple(symbols)] += n
        words = dict(merged)
    return list(dict.fromkeys(pieces))


class Tokenizer:
    """Encodes and decodes text."""

    def __init__(self, texts: list[str]) -> None:
        """`texts` has all tokens after the bytes, best-ranked first."""
        self.texts = texts
        self.ranks = {text: rank for rank, text in enumerate(texts)}
        self.ids = {text: FIRST_TEXT + rank for rank, text in enumerate(texts)}
        self.cache: dict[str, list[int]] = {}
        system = self.plain_words(SPACE + SYSTEM.replace(" ", SPACE))
        self.chain = system if SPACE + SYSTEM.replace(" ", SPACE) in self.ids else None

    @property
    def n_vocab(self) -> int:
        return FIRST_TEXT + len(self.texts)

    @classmethod
    def learn(cls, texts: list[str], n_vocab: int) -> "Tokenizer":
        """Learns a vocabulary from sample texts."""
        chars = [SPACE] + [chr(code) for code in range(0x21, 0x7F)] + list(EXTRA_CHARS)
        # The merges of the system sentence need at most one piece for each word and sign.
        spare = len(re.findall(r"\w+|[^\w\s]", SYSTEM)) + 1
        merges = learn_merges(texts, n_vocab - FIRST_TEXT - len(chars) - spare)
        merges = [piece for piece in merges if len(piece) > 1]
        words = cls(merges + chars)
        whole, chain = "", []
        for token in words.plain_words(SPACE + SYSTEM.replace(" ", SPACE)):
            whole += words.text(token)
            chain.append(whole)
        return cls(merges + chain[1:] + chars)

    def text(self, token: int) -> str:
        return self.texts[token - FIRST_TEXT]

    def plain_words(self, text: str) -> list[int]:
        """The tokens of a text with ▁ for space, word by word."""
        tokens: list[int] = []
        for word in re.findall(rf"{SPACE}[^{SPACE}]*|^[^{SPACE}]+", text):
            known = self.cache.get(word)
            if known is None:
                known = []
                for piece in pieces_of_word(word, self.ranks):
                    if piece in self.ids:
                        known.append(self.ids[piece])
                    else:
                        known += [len(SPECIALS) + byte for byte in piece.encode()]
                self.cache[word] = known
            tokens += known
        return tokens

    def encode(self, text: str) -> list[int]:
        """The tokens of a text at the start or after a special token. Adds a space before it."""
        tokens = self.plain_words(SPACE + text.replace(" ", SPACE))
        if self.chain and tokens[: len(self.chain)] == self.chain:
            tokens[: len(self.chain)] = [self.ids[SPACE + SYSTEM.replace(" ", SPACE)]]
        return tokens

    def decode(self, tokens: list[int]) -> str:
        """The text of an answer, without its leading space."""
        out = b""
        for token in tokens:
            if token >= FIRST_TEXT:
                out += self.text(token).replace(SPACE, " ").encode()
            elif token >= len(SPECIALS):
                out += bytes([token - len(SPECIALS)])
        return out.decode(errors="replace").removeprefix(" ")

    def conversation(self, turns: list[tuple[str, str]]) -> tuple[list[int], list[bool]]:
        """The tokens of a conversation, and which of them belong to answers."""
        tokens, own = [BOS], [False]
        for i, (question, answer) in enumerate(turns):
            asked = self.encode(f"{SYSTEM + ' ' if i == 0 else ''}USER: {question} ASSISTANT:")
            # An answer continues after the colon, so its first word has a leading space.
            said = self.encode(answer) + [EOS]
            tokens += asked + said
            own += [False] * len(asked) + [True] * len(said)
        return tokens, own

    def save(self, path: Path) -> None:
        path.write_text(
            json.dumps(self.texts, ensure_ascii=False, indent=0) + "\n", encoding="utf-8"
        )

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        return cls(json.loads(path.read_text(encoding="utf-8")))

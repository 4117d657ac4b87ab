#!/usr/bin/env python3
"""Write the tiny GGUF models for the tests, with random weights.

It writes five files with the same small SentencePiece-style vocabulary:

  tiny-llama.gguf  a transformer (llama), for most tests
  tiny-ties.gguf   a quantized transformer (llama) whose best two logits are often nearly equal
  tiny-mamba.gguf  a recurrent model (mamba), whose memory cannot be truncated
  tiny-swa.gguf    a sliding-window model (gemma3), with two caches and a short window
  tiny-bert.gguf   an encoder (bert), which is not a language model

Their output makes no sense. It must be varied, and it must repeat itself sometimes, so that drafts
are found. Except in tiny-ties, the gaps between logits must be large, so that rounding does not
change a greedy choice.

Needs numpy and gguf:

  python3 -m venv venv && venv/bin/pip install numpy gguf
  venv/bin/python scripts/tiny_models.py --out tests/models

The files are the same on every run. The weights come from a seeded generator that numpy does not
change any more, and from exact IEEE arithmetic. No date is written.
"""

import argparse
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as QuantizationType

N_VOCAB = 640
N_EMBD = 64
N_CTX = 2048
EPS = 1e-5
EOS = 2
FIRST_TEXT_TOKEN = 3 + 256  # special tokens and bytes come first

# The training text of the vocabulary: prose, the words of the chat template, and code. The tests
# tokenize all three.
CORPUS = """
The quick brown fox jumps over the lazy dog, and the dog does not mind it at all. There was once a
small town by the sea where the people would tell the same story every night. In the story, a
young man and an old woman walk along the river and count the stars; when they have counted all of
them, they start again from the first one. What is the reason for this? Nobody knows, but everyone
has heard it before, so they can say the next words before they are spoken. That is how guessing
works: if you have seen the words before, you will most often be right about what comes after them.
Can you write a short text about the history of the city? Please explain how the model should
answer the question, then give me the number of people who live there. I think that we could make
it faster, because there is more than one way to do this. The first thing to know is which part of
the program takes most of its time. Two and three are five; one hundred and ten is 110, 20 is not
25.
A chat between a curious user and an artificial intelligence assistant. The assistant gives
helpful, detailed, and polite answers to the user's questions. USER: Hello! How are you today?
ASSISTANT: I am fine, thank you. It's good to hear from you. USER: What do you see? ASSISTANT: I'm
seeing nothing, but I don't mind, and you shouldn't either.
fn main() { let mut count = 0; for value in values.iter() { count += value.len(); } return count; }
def main(self): result = [x for x in range(10) if x == self.value] print(result) return result
"""

# The chat format of Vicuna: `system USER: q ASSISTANT: a</s>USER: q2 ASSISTANT:`
CHAT_TEMPLATE = (
    "{% if messages and messages[0]['role'] == 'system' %}"
    "{{ messages[0]['content'] }}"
    "{% else %}"
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
    "{% endif %}"
    "{{ ' ' }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'ASSISTANT: ' + message['content'] + '</s>' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


# --- the vocabulary -------------------------------------------------------------------------


def learn_merges(text: str, count: int) -> list[str]:
    """The pieces of the `count` most frequent merges (byte pair encoding), best first.

    llama.cpp builds a token by merging two tokens, so each piece must consist of two others. A list
    of words would not have this property.
    """
    # A word includes its leading space, like in SentencePiece. Digits are separate.
    found = re.findall(r" ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]+", text.replace("\n", " "))
    words = {tuple(word.replace(" ", "▁")): n for word, n in Counter(found).items()}
    pieces: list[str] = []
    while len(pieces) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        # The pair breaks ties, so that the result does not depend on the order of the dict.
        left, right = max(pairs, key=lambda pair: (pairs[pair], pair))
        if left + right not in pieces:
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
    return pieces


def vocabulary() -> list[tuple[str, float, gguf.TokenType]]:
    """All tokens with score and type. A higher score is merged earlier."""
    chars = ["▁"] + [chr(code) for code in range(0x21, 0x7F)] + ["é", "ü", "’", "…"]
    spaces = ["▁▁", "▁▁▁▁"]  # after all words, so that words keep their leading space
    merges = learn_merges(CORPUS, N_VOCAB - FIRST_TEXT_TOKEN - len(spaces) - len(chars)) + spaces
    tokens = [
        ("<unk>", 0.0, gguf.TokenType.UNKNOWN),
        ("<s>", 0.0, gguf.TokenType.CONTROL),
        ("</s>", 0.0, gguf.TokenType.CONTROL),
    ]
    tokens += [(f"<0x{byte:02X}>", 0.0, gguf.TokenType.BYTE) for byte in range(256)]
    texts = merges + chars
    tokens += [(text, -float(rank), gguf.TokenType.NORMAL) for rank, text in enumerate(texts)]
    assert len(tokens) == N_VOCAB == len({text for text, _, _ in tokens})
    return tokens


# --- the weights ----------------------------------------------------------------------------


class Weights:
    """Random weights, uniform: a normal distribution needs a logarithm of the libc."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.RandomState(seed)

    def uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        """Uniform values between the two bounds."""
        return (low + (high - low) * self.random.random_sample(shape)).astype(np.float32)

    def matrix(self, rows: int, columns: int, gain: float = 1.0) -> np.ndarray:
        """A matrix that maps inputs of size 1 to outputs of about the size `gain`."""
        bound = gain * (3.0 / columns) ** 0.5  # the standard deviation is bound / sqrt(3)
        return self.uniform(-bound, bound, rows, columns)

    def embedding(self, n_embd: int = N_EMBD, rows: int = N_VOCAB) -> np.ndarray:
        """One vector a row, with elements of about the size 1."""
        return self.matrix(rows, n_embd, n_embd**0.5)

    def norm(self, size: int) -> np.ndarray:
        """The weights of a norm, near 1."""
        return self.uniform(0.8, 1.2, size)

    def signs(self, size: int) -> np.ndarray:
        """Random values of +1 and -1."""
        return np.where(self.random.random_sample(size) < 0.5, -1.0, 1.0).astype(np.float32)


def quiet_specials(rows: np.ndarray) -> np.ndarray:
    """Shrinks the output weights (or tied embeddings) of tokens that are not text.

    Bytes get rare, because random bytes are seldom UTF-8. <unk>, <s> and </s> never occur, so that
    no text ends at random.
    """
    rows[3:FIRST_TEXT_TOKEN] *= np.float32(0.6)
    rows[:3] *= np.float32(0.01)
    return rows


# --- the files ------------------------------------------------------------------------------


def start(path: Path, arch: str, n_layer: int, n_ctx: int = N_CTX) -> gguf.GGUFWriter:
    """A file with the metadata of all models."""
    out = gguf.GGUFWriter(path, arch)
    out.add_name(path.stem)
    out.add_file_type(gguf.LlamaFileType.ALL_F32)
    out.add_vocab_size(N_VOCAB)
    out.add_context_length(n_ctx)
    out.add_block_count(n_layer)
    tokens = vocabulary()
    out.add_tokenizer_model("llama")
    out.add_token_list([text for text, _, _ in tokens])
    out.add_token_scores([score for _, score, _ in tokens])
    out.add_token_types([kind for _, _, kind in tokens])
    out.add_bos_token_id(1)
    out.add_eos_token_id(EOS)
    out.add_unk_token_id(0)
    out.add_add_bos_token(True)
    out.add_add_eos_token(False)
    out.add_add_space_prefix(True)
    return out


def finish(
    out: gguf.GGUFWriter,
    tensors: dict[str, np.ndarray],
    quantize: Callable[[str], QuantizationType | None] = lambda _: None,
) -> None:
    """Adds the tensors, those of `quantize` in its types, and writes the file."""
    for name, tensor in tensors.items():
        if tensor.ndim == 2 and (kind := quantize(name)):
            out.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
        else:
            out.add_tensor(name, tensor)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def attention(out: gguf.GGUFWriter, heads: int, kv_heads: int, head_size: int) -> None:
    """The metadata of attention."""
    out.add_head_count(heads)
    out.add_head_count_kv(kv_heads)
    out.add_key_length(head_size)
    out.add_value_length(head_size)
    out.add_rope_dimension_count(head_size)


def write_llama(path: Path) -> None:
    # Head size 64 is the smallest for flash attention on a GPU, and the tests should use the
    # kernels of real models. Two heads share one KV head to keep the file small.
    n_layer, n_ff, heads, kv_heads, head = 2, 128, 2, 1, 64
    out = start(path, "llama", n_layer)
    out.add_chat_template(CHAT_TEMPLATE)
    out.add_embedding_length(N_EMBD)
    out.add_feed_forward_length(n_ff)
    attention(out, heads, kv_heads, head)
    out.add_layer_norm_rms_eps(EPS)
    w = Weights(1)
    # The output weights are not tied. Otherwise the last token would repeat forever.
    tensors = {
        "token_embd.weight": w.embedding(),
        "output_norm.weight": w.norm(N_EMBD),
        "output.weight": quiet_specials(w.matrix(N_VOCAB, N_EMBD, 4.0)),
    }
    for layer in range(n_layer):
        blk = f"blk.{layer}"
        tensors |= {
            f"{blk}.attn_norm.weight": w.norm(N_EMBD),
            # With large queries and keys, attention selects some tokens instead of averaging all.
            # The outputs of the layers are small, so the next token depends mostly on the last
            # one, and pairs repeat. The rest of the text matters enough to avoid loops.
            f"{blk}.attn_q.weight": w.matrix(heads * head, N_EMBD, 1.5),
            f"{blk}.attn_k.weight": w.matrix(kv_heads * head, N_EMBD, 1.5),
            f"{blk}.attn_v.weight": w.matrix(kv_heads * head, N_EMBD),
            f"{blk}.attn_output.weight": w.matrix(N_EMBD, heads * head, 0.4),
            f"{blk}.ffn_norm.weight": w.norm(N_EMBD),
            f"{blk}.ffn_gate.weight": w.matrix(n_ff, N_EMBD),
            f"{blk}.ffn_up.weight": w.matrix(n_ff, N_EMBD),
            f"{blk}.ffn_down.weight": w.matrix(N_EMBD, n_ff, 0.7),
        }
    finish(out, tensors)


def write_ties(path: Path) -> None:
    # 256 wide, so that a row fills whole blocks of all quantizations.
    n_layer, n_embd, n_ff, heads, kv_heads, head = 2, 256, 256, 4, 1, 64
    out = start(path, "llama", n_layer)
    out.add_embedding_length(n_embd)
    out.add_feed_forward_length(n_ff)
    attention(out, heads, kv_heads, head)
    out.add_layer_norm_rms_eps(EPS)
    w = Weights(5)
    # The output weights of the tokens lie on a circle, so that the best token is the nearest of
    # many in one direction. Where rounding turns the output a little, it is another one. Only every
    # third token is ever the best, so that the text soon repeats itself.
    angles = np.arange(N_VOCAB) * (2 * np.pi / N_VOCAB)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    rows = w.random.permutation(circle) @ w.matrix(2, n_embd, 4.0)
    rows[np.arange(N_VOCAB) % 3 > 0] *= np.float32(0.5)
    tensors = {
        "token_embd.weight": w.embedding(n_embd),
        "output_norm.weight": w.norm(n_embd),
        "output.weight": quiet_specials(rows),
    }
    for layer in range(n_layer):
        blk = f"blk.{layer}"
        tensors |= {
            f"{blk}.attn_norm.weight": w.norm(n_embd),
            f"{blk}.attn_q.weight": w.matrix(heads * head, n_embd, 1.5),
            f"{blk}.attn_k.weight": w.matrix(kv_heads * head, n_embd, 1.5),
            f"{blk}.attn_v.weight": w.matrix(kv_heads * head, n_embd),
            # Small outputs of the layers: the text comes back to the same words, and drafts are
            # found.
            f"{blk}.attn_output.weight": w.matrix(n_embd, heads * head, 0.1),
            f"{blk}.ffn_norm.weight": w.norm(n_embd),
            f"{blk}.ffn_gate.weight": w.matrix(n_ff, n_embd),
            f"{blk}.ffn_up.weight": w.matrix(n_ff, n_embd),
            f"{blk}.ffn_down.weight": w.matrix(n_embd, n_ff, 0.1),
        }

    def kind(name: str) -> QuantizationType:
        if name == "output.weight":
            return QuantizationType.F16
        return QuantizationType.Q4_0 if "ffn" in name else QuantizationType.Q8_0

    finish(out, tensors, kind)


def write_mamba(path: Path) -> None:
    n_layer, n_inner, n_conv, n_state, dt_rank = 2, 2 * N_EMBD, 4, 16, 4
    out = start(path, "mamba", n_layer)
    out.add_embedding_length(N_EMBD)
    out.add_feed_forward_length(0)
    out.add_head_count(0)
    out.add_ssm_conv_kernel(n_conv)
    out.add_ssm_inner_size(n_inner)
    out.add_ssm_state_size(n_state)
    out.add_ssm_time_step_rank(dt_rank)
    out.add_layer_norm_rms_eps(EPS)
    w = Weights(2)
    tensors = {
        "token_embd.weight": w.embedding(),
        "output_norm.weight": w.norm(N_EMBD),
        "output.weight": quiet_specials(w.matrix(N_VOCAB, N_EMBD, 4.0)),
    }
    # The decay rates of the Mamba paper: -1, -2, ..., the same for all channels.
    decay = -np.arange(1, n_state + 1, dtype=np.float32)
    for layer in range(n_layer):
        blk = f"blk.{layer}"
        tensors |= {
            f"{blk}.attn_norm.weight": w.norm(N_EMBD),
            f"{blk}.ssm_in.weight": w.matrix(2 * n_inner, N_EMBD),
            f"{blk}.ssm_conv1d.weight": w.matrix(n_inner, n_conv, 2.0),
            f"{blk}.ssm_conv1d.bias": np.zeros(n_inner, np.float32),
            f"{blk}.ssm_x.weight": w.matrix(dt_rank + 2 * n_state, n_inner),
            f"{blk}.ssm_dt.weight": w.matrix(n_inner, dt_rank),
            # Softplus gives the time step, about 0.02 to 0.3. Some channels have a long memory.
            f"{blk}.ssm_dt.bias": w.uniform(-4.0, -1.0, n_inner),
            f"{blk}.ssm_a": np.tile(decay, (n_inner, 1)),
            f"{blk}.ssm_d": np.ones(n_inner, np.float32),
            f"{blk}.ssm_out.weight": w.matrix(N_EMBD, n_inner),
        }
    finish(out, tensors)


def write_swa(path: Path) -> None:
    n_layer, n_ff, heads, kv_heads, head = 2, 128, 1, 1, 64
    out = start(path, "gemma3", n_layer)
    out.add_embedding_length(N_EMBD)
    out.add_feed_forward_length(n_ff)
    attention(out, heads, kv_heads, head)
    out.add_sliding_window(16)
    out.add_sliding_window_pattern(
        2
    )  # the first layer has the window, the second has full attention
    out.add_layer_norm_rms_eps(EPS)
    w = Weights(3)
    # Gemma's output weights are its embeddings. Random signs in the last norm keep the last token
    # from repeating. Its sizes compensate those of the embeddings.
    tensors = {
        "token_embd.weight": quiet_specials(w.embedding()),
        "output_norm.weight": w.signs(N_EMBD) * np.float32(0.5),
    }
    for layer in range(n_layer):
        blk = f"blk.{layer}"
        tensors |= {
            f"{blk}.attn_norm.weight": w.norm(N_EMBD),
            f"{blk}.attn_q.weight": w.matrix(heads * head, N_EMBD),
            f"{blk}.attn_k.weight": w.matrix(kv_heads * head, N_EMBD),
            f"{blk}.attn_v.weight": w.matrix(kv_heads * head, N_EMBD),
            f"{blk}.attn_output.weight": w.matrix(N_EMBD, heads * head),
            f"{blk}.attn_q_norm.weight": w.norm(head) * np.float32(2.0),
            f"{blk}.attn_k_norm.weight": w.norm(head) * np.float32(2.0),
            # Gemma scales embeddings by sqrt(N_EMBD) = 8, so the layers need large outputs.
            f"{blk}.post_attention_norm.weight": w.norm(N_EMBD) * np.float32(3.0),
            f"{blk}.ffn_norm.weight": w.norm(N_EMBD),
            f"{blk}.ffn_gate.weight": w.matrix(n_ff, N_EMBD),
            f"{blk}.ffn_up.weight": w.matrix(n_ff, N_EMBD),
            f"{blk}.ffn_down.weight": w.matrix(N_EMBD, n_ff),
            f"{blk}.post_ffw_norm.weight": w.norm(N_EMBD) * np.float32(5.0),
        }
    finish(out, tensors)


def write_bert(path: Path) -> None:
    n_layer, n_embd, n_ff, n_ctx = 1, 32, 64, 128  # only has to load, so it is the smallest
    out = start(path, "bert", n_layer, n_ctx)
    out.add_embedding_length(n_embd)
    out.add_feed_forward_length(n_ff)
    out.add_head_count(1)
    out.add_layer_norm_eps(EPS)
    out.add_causal_attention(False)
    out.add_pooling_type(gguf.PoolingType.MEAN)
    out.add_token_type_count(1)
    w = Weights(4)
    zero = np.zeros(n_embd, np.float32)
    tensors = {
        "token_embd.weight": w.embedding(n_embd),
        "position_embd.weight": w.embedding(n_embd, n_ctx),
        "token_embd_norm.weight": w.norm(n_embd),
        "token_embd_norm.bias": zero,
    }
    for layer in range(n_layer):
        blk = f"blk.{layer}"
        tensors |= {
            f"{blk}.attn_q.weight": w.matrix(n_embd, n_embd),
            f"{blk}.attn_k.weight": w.matrix(n_embd, n_embd),
            f"{blk}.attn_v.weight": w.matrix(n_embd, n_embd),
            f"{blk}.attn_output.weight": w.matrix(n_embd, n_embd),
            f"{blk}.attn_output_norm.weight": w.norm(n_embd),
            f"{blk}.attn_output_norm.bias": zero,
            f"{blk}.ffn_up.weight": w.matrix(n_ff, n_embd),
            f"{blk}.ffn_down.weight": w.matrix(n_embd, n_ff),
            f"{blk}.layer_output_norm.weight": w.norm(n_embd),
            f"{blk}.layer_output_norm.bias": zero,
        }
    finish(out, tensors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    writers = {
        "llama": write_llama,
        "ties": write_ties,
        "mamba": write_mamba,
        "swa": write_swa,
        "bert": write_bert,
    }
    for name, write in writers.items():
        path = folder / f"tiny-{name}.gguf"
        write(path)
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()

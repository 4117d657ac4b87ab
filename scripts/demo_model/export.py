#!/usr/bin/env python3
"""Write the trained model as GGUF.

export.py --work WORK --out logitspec-demo.gguf [--type f16|q8_0|f32]
"""

import argparse
from pathlib import Path

import gguf
import numpy as np
import torch

from chat import TEMPLATE
from model import Llama, Shape
from tokenizer import BOS, EOS, SPECIALS, UNK, Tokenizer

TYPES = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}


def load(work: Path) -> tuple[Llama, dict]:
    """The model of the last checkpoint, and the checkpoint."""
    state = torch.load(work / "checkpoint.pt", map_location="cpu", weights_only=True)
    model = Llama(Shape(**state["shape"]))
    model.load_state_dict(state["model"])
    return model.eval(), state


def tensors(model: Llama) -> dict[str, np.ndarray]:
    """The weights with their names in GGUF."""
    n, ff = model.shape.n_embd, model.shape.n_ff
    named = {"token_embd.weight": model.embed.weight, "output_norm.weight": model.norm.weight}
    for i, layer in enumerate(model.layers):
        q, k, v = layer.qkv.weight.split(n)
        gate, up = layer.gate_up.weight.split(ff)
        named |= {
            f"blk.{i}.attn_norm.weight": layer.attn_norm.weight,
            f"blk.{i}.attn_q.weight": q,
            f"blk.{i}.attn_k.weight": k,
            f"blk.{i}.attn_v.weight": v,
            f"blk.{i}.attn_output.weight": layer.o.weight,
            f"blk.{i}.ffn_norm.weight": layer.ffn_norm.weight,
            f"blk.{i}.ffn_gate.weight": gate,
            f"blk.{i}.ffn_up.weight": up,
            f"blk.{i}.ffn_down.weight": layer.down.weight,
        }
    return {
        name: np.ascontiguousarray(weight.detach().float().numpy())
        for name, weight in named.items()
    }


def write(model: Llama, tokenizer: Tokenizer, path: Path, kind: str) -> None:
    shape = model.shape
    quant, file_type = TYPES[kind]
    out = gguf.GGUFWriter(path, "llama")
    out.add_name("logitspec demo")
    out.add_description(
        "A small chat model on a closed world of generated tasks, for showing and testing logitspec"
    )
    out.add_license("MIT OR Apache-2.0")
    out.add_file_type(file_type)
    out.add_context_length(shape.n_ctx)
    out.add_embedding_length(shape.n_embd)
    out.add_block_count(shape.n_layer)
    out.add_feed_forward_length(shape.n_ff)
    out.add_head_count(shape.n_head)
    out.add_head_count_kv(shape.n_head)
    out.add_key_length(shape.head_size)
    out.add_value_length(shape.head_size)
    out.add_rope_dimension_count(shape.head_size)
    out.add_rope_freq_base(shape.rope_base)
    out.add_layer_norm_rms_eps(shape.eps)
    out.add_vocab_size(shape.n_vocab)

    texts = list(SPECIALS) + [f"<0x{byte:02X}>" for byte in range(256)] + tokenizer.texts
    types = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    types += [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * len(tokenizer.texts)
    scores = [0.0] * (len(SPECIALS) + 256) + [-float(rank) for rank in range(len(tokenizer.texts))]
    out.add_tokenizer_model("llama")
    out.add_tokenizer_pre("default")
    out.add_token_list(texts)
    out.add_token_scores(scores)
    out.add_token_types(types)
    out.add_unk_token_id(UNK)
    out.add_bos_token_id(BOS)
    out.add_eos_token_id(EOS)
    out.add_add_bos_token(True)
    out.add_add_eos_token(False)
    out.add_add_space_prefix(True)
    out.add_chat_template(TEMPLATE)

    for name, weight in tensors(model).items():
        if weight.ndim == 1:
            out.add_tensor(name, weight)  # norms stay in 32 bits
        else:
            out.add_tensor(name, gguf.quantize(weight, quant), raw_dtype=quant)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of the training")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--type", choices=TYPES, default="f16")
    args = parser.parse_args()
    model, state = load(args.work)
    write(model, Tokenizer.load(args.work / "tokenizer.json"), args.out, args.type)
    weights = sum(p.numel() for p in model.parameters())
    print(
        f"{args.out}: {args.out.stat().st_size} bytes, {weights} weights, step {state['step']},"
        f" {state['seen']} tokens"
    )


if __name__ == "__main__":
    main()

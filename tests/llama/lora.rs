//! LoRA adapters.

use std::path::PathBuf;

use logitspec::runtime::llama::Lora;

use super::*;
use crate::gguf::write_lora;

/// Widths of `blk.N.ffn_down` of tiny-llama.
const SIZES: [usize; 2] = [128, 64];

/// Random matrices of rank `rank`: one from the wide side, one to the narrow one.
fn matrices(rank: usize, seed: u64) -> [Vec<f32>; 2] {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut matrix = |size: usize| (0..size).map(|_| random.f32() - 0.5).collect();
    [matrix(SIZES[0] * rank), matrix(rank * SIZES[1])]
}

fn write(folder: &tempfile::TempDir, name: &str, rank: usize, [a, b]: &[Vec<f32>; 2]) -> PathBuf {
    let path = folder.path().join(name);
    let tensors = [
        ("blk.1.ffn_down.weight.lora_a", [SIZES[0], rank], &a[..]),
        ("blk.1.ffn_down.weight.lora_b", [rank, SIZES[1]], &b[..]),
    ];
    // An alpha equal to the rank scales by 1.
    write_lora(&path, "llama", rank as f32, &tensors);
    path
}

fn with(adapters: &[(&PathBuf, f32)]) -> Model {
    let adapters: Vec<Lora> = adapters
        .iter()
        .map(|&(path, scale)| Lora {
            path: path.clone(),
            scale,
        })
        .collect();
    load("tiny-llama.gguf").with_adapters(&adapters).unwrap()
}

fn logits(model: &Model) -> Vec<f32> {
    let prompt = model.vocabulary().tokenize(PROMPTS[0]).unwrap();
    let mut session = Session::open(model, &CONTEXT, options(Method::Baseline, 1)).unwrap();
    session.prefill(&prompt, &mut go_on).unwrap();
    session.last_logits().unwrap().to_vec()
}

fn largest_gap(a: &[f32], b: &[f32]) -> f32 {
    let gaps = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    gaps.fold(0.0, f32::max)
}

#[test]
fn several_adapters_add_up_with_their_scales() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = [1, 2].map(|seed| matrices(1, seed));
    let one = write(&folder, "one.gguf", 1, &first);
    let two = write(&folder, "two.gguf", 1, &second);
    // Both in one, of rank 2, the second at -3 times its strength.
    let a = [&first[0][..], &second[0]].concat();
    let pairs = first[1].iter().zip(&second[1]);
    let b = pairs.flat_map(|(one, two)| [*one, -3.0 * two]).collect();
    let both = write(&folder, "both.gguf", 2, &[a, b]);

    let plain = logits(&with(&[]));
    let alone = logits(&with(&[(&one, 1.0)]));
    let together = logits(&with(&[(&one, 1.0), (&two, -3.0)]));
    assert!(largest_gap(&plain, &alone) > 1e-3);
    assert!(largest_gap(&alone, &together) > 1e-3);
    assert!(largest_gap(&together, &logits(&with(&[(&both, 1.0)]))) < 1e-4);
    assert_eq!(logits(&with(&[(&one, 0.0)])), plain);
}

#[test]
fn drafts_do_not_change_the_answer_of_an_adapted_model() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, "lora.gguf", 3, &matrices(3, 5));
    let model = with(&[(&file, 2.0)]);
    for prompt in PROMPTS {
        let prompt = model.vocabulary().tokenize(prompt).unwrap();
        let plain = plain_answer(&model, &prompt, 40);
        let mut session = Session::open(&model, &CONTEXT, options(Method::Logitspec, 16)).unwrap();
        let drafted = answer(&mut session, &prompt, 40);
        if cfg!(few_token_kernels) {
            assert_eq!(drafted, plain);
        }
    }
}

#[test]
fn what_is_no_adapter_for_the_model_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.gguf");
    let text = folder.path().join("text.gguf");
    std::fs::write(&text, "no GGUF").unwrap();
    let wide = folder.path().join("wide.gguf");
    let zeros = vec![0.0; 256];
    let tensors = [
        ("blk.1.ffn_down.weight.lora_a", [256, 1], &zeros[..]),
        ("blk.1.ffn_down.weight.lora_b", [1, 64], &zeros[..64]),
    ];
    write_lora(&wide, "llama", 1.0, &tensors);
    let other = folder.path().join("other.gguf");
    write_lora(&other, "gpt2", 1.0, &[]);
    for path in [missing, text, wide, other, model_path("tiny-llama.gguf")] {
        let lora = Lora {
            path: path.clone(),
            scale: 1.0,
        };
        let refused = load("tiny-llama.gguf").with_adapters(&[lora]);
        let error = refused.map(|_| ()).unwrap_err();
        assert_eq!(error.path, path);
        assert!(
            !error.cause.is_empty() && !error.cause.contains('\n'),
            "{error}"
        );
    }
}

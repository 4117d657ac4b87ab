//! Attention through ggml's graph: what it computes, and that nothing else in the pass matters.
//! A process of its own: passes are batch-invariant in it.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::ffi::c_int;

use llama_cpp_sys_2 as sys;

/// Queries, keys and values.
#[derive(Clone)]
struct Inputs {
    heads: usize,
    /// Heads of keys and values.
    kv_heads: usize,
    key_len: usize,
    value_len: usize,
    /// By token, head and value.
    queries: Vec<Vec<Vec<f32>>>,
    /// By cell, head and value, in F16.
    keys: Vec<Vec<Vec<u16>>>,
    values: Vec<Vec<Vec<u16>>>,
    /// Whether a token sees a cell.
    sees: Vec<Vec<bool>>,
    /// A number that the mask holds where a token sees a cell, and its largest slope.
    bias: f32,
    max_bias: f32,
    softcap: f32,
    /// Scores without a value, one for each head.
    sinks: Option<Vec<f32>>,
}

fn half(value: f32) -> u16 {
    // SAFETY: takes a float.
    unsafe { sys::ggml_fp32_to_fp16(value) }
}

fn from_half(value: u16) -> f32 {
    // SAFETY: takes a number.
    unsafe { sys::ggml_fp16_to_fp32(value) }
}

impl Inputs {
    fn random(
        random: &mut fastrand::Rng,
        [tokens, cells]: [usize; 2],
        [heads, kv_heads]: [usize; 2],
        [key_len, value_len]: [usize; 2],
    ) -> Self {
        let mut rows = |outer: usize, heads: usize, len: usize| -> Vec<Vec<Vec<f32>>> {
            let mut value = || 4.0 * (random.f32() - 0.5);
            let mut row = || (0..len).map(|_| value()).collect();
            let mut all = || (0..heads).map(|_| row()).collect();
            (0..outer).map(|_| all()).collect()
        };
        let to_half = |rows: Vec<Vec<Vec<f32>>>| {
            let row = |row: Vec<f32>| row.into_iter().map(half).collect();
            let all = |heads: Vec<Vec<f32>>| heads.into_iter().map(row).collect();
            rows.into_iter().map(all).collect()
        };
        let queries = rows(tokens, heads, key_len);
        let keys = to_half(rows(cells, kv_heads, key_len));
        let values = to_half(rows(cells, kv_heads, value_len));
        let mut sees = |_| {
            (0..cells)
                .map(|cell| cell == 0 || random.f32() < 0.7)
                .collect()
        };
        Self {
            heads,
            kv_heads,
            key_len,
            value_len,
            queries,
            keys,
            values,
            sees: (0..tokens).map(&mut sees).collect(),
            bias: 0.0,
            max_bias: 0.0,
            softcap: 0.0,
            sinks: None,
        }
    }

    /// What ggml's graph computes, by token: all heads, one after the other.
    fn compute(&self, threads: c_int) -> Vec<Vec<f32>> {
        let (tokens, cells) = (self.queries.len(), self.keys.len());
        // SAFETY: all tensors are of one context with room for them, and get as much data as they
        // have room for.
        unsafe {
            let context = sys::ggml_init(sys::ggml_init_params {
                mem_size: 64 << 20,
                mem_buffer: std::ptr::null_mut(),
                no_alloc: false,
            });
            let tensor = |ty, ne: [usize; 3]| {
                let [a, b, c] = ne.map(|n| n as i64);
                sys::ggml_new_tensor_3d(context, ty, a, b, c)
            };
            let q = tensor(sys::GGML_TYPE_F32, [self.key_len, tokens, self.heads]);
            for (token, heads) in self.queries.iter().enumerate() {
                for (head, row) in heads.iter().enumerate() {
                    let at = (head * tokens + token) * self.key_len;
                    let to = sys::ggml_get_data(q).cast::<f32>().add(at);
                    to.copy_from(row.as_ptr(), row.len());
                }
            }
            let cached = |rows: &[Vec<Vec<u16>>], len: usize| {
                let tensor = tensor(sys::GGML_TYPE_F16, [len, cells, self.kv_heads]);
                for (cell, heads) in rows.iter().enumerate() {
                    for (head, row) in heads.iter().enumerate() {
                        let to = sys::ggml_get_data(tensor).cast::<u16>();
                        to.add((head * cells + cell) * len)
                            .copy_from(row.as_ptr(), row.len());
                    }
                }
                tensor
            };
            let k = cached(&self.keys, self.key_len);
            let v = cached(&self.values, self.value_len);
            let mask = tensor(sys::GGML_TYPE_F16, [cells, tokens, 1]);
            let masked = |(cell, &sees): (usize, &bool)| match sees {
                true => half(self.mask(cell)),
                false => half(f32::NEG_INFINITY),
            };
            let rows = self.sees.iter();
            let bits: Vec<u16> = rows
                .flat_map(|row| row.iter().enumerate().map(masked))
                .collect();
            sys::ggml_get_data(mask)
                .cast::<u16>()
                .copy_from(bits.as_ptr(), bits.len());
            let scale = 1.0 / (self.key_len as f32).sqrt();
            let [bias, cap] = [self.max_bias, self.softcap];
            let dst = sys::ggml_flash_attn_ext(context, q, k, v, mask, scale, bias, cap);
            if let Some(values) = &self.sinks {
                let sinks = tensor(sys::GGML_TYPE_F32, [self.heads, 1, 1]);
                let to = sys::ggml_get_data(sinks).cast::<f32>();
                to.copy_from(values.as_ptr(), values.len());
                sys::ggml_flash_attn_ext_add_sinks(dst, sinks);
            }
            let graph = sys::ggml_new_graph(context);
            sys::ggml_build_forward_expand(graph, dst);
            let status = sys::ggml_graph_compute_with_ctx(context, graph, threads);
            assert_eq!(status, sys::GGML_STATUS_SUCCESS);
            let len = self.heads * self.value_len;
            let all = sys::ggml_get_data(dst).cast::<f32>();
            let row = |token: usize| std::slice::from_raw_parts(all.add(token * len), len).to_vec();
            let rows = (0..tokens).map(row).collect();
            sys::ggml_free(context);
            rows
        }
    }

    /// The same from the definition, in double precision.
    fn naive(&self, token: usize) -> Vec<f64> {
        let mut result = Vec::new();
        for head in 0..self.heads {
            let shared = head / (self.heads / self.kv_heads);
            let seen = || (0..self.keys.len()).filter(|&cell| self.sees[token][cell]);
            let score = |cell: usize| -> f64 {
                let key = self.keys[cell][shared].iter().map(|&it| from_half(it));
                let products = self.queries[token][head].iter().zip(key);
                let dot = products.map(|(&a, b)| f64::from(a) * f64::from(b));
                let score = dot.sum::<f64>() / (self.key_len as f64).sqrt();
                let cap = f64::from(self.softcap);
                let score = if cap == 0.0 {
                    score
                } else {
                    cap * (score / cap).tanh()
                };
                score + self.slope(head) * f64::from(self.mask(cell))
            };
            let weights: Vec<f64> = seen().map(|cell| score(cell).exp()).collect();
            let sink = self
                .sinks
                .as_ref()
                .map_or(0.0, |sinks| f64::from(sinks[head]).exp());
            let total: f64 = weights.iter().sum::<f64>() + sink;
            result.extend((0..self.value_len).map(|i| {
                let value = |cell: usize| f64::from(from_half(self.values[cell][shared][i]));
                let weighted = seen()
                    .zip(&weights)
                    .map(|(cell, weight)| weight * value(cell));
                weighted.sum::<f64>() / total
            }));
        }
        result
    }

    /// What the mask holds of a cell that a token sees: a number that F16 has.
    fn mask(&self, cell: usize) -> f32 {
        self.bias * (cell % 8) as f32
    }

    /// ALiBi's slopes, from the definition in its paper, for 8 heads or with 4 heads behind them.
    fn slope(&self, head: usize) -> f64 {
        let max_bias = f64::from(self.max_bias);
        match (self.max_bias == 0.0, head < 8) {
            (true, _) => 1.0,
            (_, true) => 2f64.powf(-max_bias * (head + 1) as f64 / 8.0),
            _ => 2f64.powf(-max_bias * (2 * (head - 8) + 1) as f64 / 16.0),
        }
    }

    /// One token alone.
    fn only(&self, token: usize) -> Self {
        Self {
            queries: vec![self.queries[token].clone()],
            sees: vec![self.sees[token].clone()],
            ..self.clone()
        }
    }

    /// With cells between the others that nobody sees.
    fn with_holes(&self, random: &mut fastrand::Rng) -> Self {
        let mut more = Self {
            keys: Vec::new(),
            values: Vec::new(),
            sees: vec![Vec::new(); self.sees.len()],
            ..self.clone()
        };
        for cell in 0..self.keys.len() {
            for hole in 0..=random.usize(0..3) {
                more.keys.push(self.keys[cell].clone());
                more.values.push(self.values[cell].clone());
                for (sees, of) in more.sees.iter_mut().zip(&self.sees) {
                    sees.push(hole == 0 && of[cell]);
                }
            }
        }
        more
    }
}

fn bits(rows: &[Vec<f32>]) -> Vec<Vec<u32>> {
    let row = |row: &Vec<f32>| row.iter().map(|it| it.to_bits()).collect();
    rows.iter().map(row).collect()
}

#[test]
fn a_token_gets_the_same_bits_whatever_else_is_in_the_pass() {
    // SAFETY: may be called again.
    unsafe { sys::ggml_cpu_init() };
    assert!(ggml_few_token::batch_invariant_or_init(true));
    let mut random = fastrand::Rng::with_seed(7);
    let shapes = [
        ([1, 600], [9, 3], [64, 64]),
        ([70, 90], [9, 3], [64, 64]),
        ([5, 700], [8, 8], [128, 128]),
        ([3, 40], [10, 2], [80, 80]),
        ([66, 33], [8, 1], [32, 48]),
        ([2, 1], [4, 2], [256, 16]),
        // ggml computes these: the length is no multiple of 16.
        ([5, 40], [2, 2], [40, 40]),
    ];
    let plain = shapes.map(|(sizes, heads, lens)| Inputs::random(&mut random, sizes, heads, lens));
    let other = |random: &mut fastrand::Rng| Inputs::random(random, [5, 50], [12, 4], [64, 64]);
    let biased = Inputs {
        bias: -0.5,
        max_bias: 8.0,
        ..other(&mut random)
    };
    let capped = Inputs {
        softcap: 2.0,
        sinks: Some((0..12).map(|head| head as f32 / 4.0).collect()),
        ..other(&mut random)
    };
    for inputs in plain.into_iter().chain([biased, capped]) {
        let sizes = [inputs.queries.len(), inputs.keys.len()];
        let lens = [inputs.key_len, inputs.value_len];
        let all = inputs.compute(2);
        for (token, row) in all.iter().enumerate() {
            for (&value, exact) in row.iter().zip(inputs.naive(token)) {
                // ggml sums up the values in F16.
                let error = (f64::from(value) - exact).abs();
                let most = if lens[0] == 40 { 2e-2 } else { 2e-5 };
                assert!(error < most, "{sizes:?} {lens:?}: {value} for {exact}");
            }
        }
        let all = bits(&all);
        for threads in [1, 3] {
            assert_eq!(bits(&inputs.compute(threads)), all, "{threads} threads");
        }
        for token in [0, sizes[0] / 2, sizes[0] - 1] {
            let alone = bits(&inputs.only(token).compute(2));
            assert_eq!(alone[0], all[token], "{sizes:?}: token {token} alone");
        }
        // The mask is by cell here, and would be another one.
        if inputs.bias == 0.0 {
            let holes = inputs.with_holes(&mut random).compute(2);
            assert_eq!(bits(&holes), all, "{sizes:?}: with holes");
        }
    }
}

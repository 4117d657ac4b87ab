//! The flags that choose devices, in a build that may see none.
#![cfg(feature = "cli")]

mod program;

use program::{assert_refused, generate, json, run, stderr, stdout};

const SHORT: [&str; 5] = ["-p", "one two", "-n", "4", "--json"];

fn tokens(flags: &[&str]) -> serde_json::Value {
    json(&generate(&[&SHORT, flags].concat()))["tokens"].clone()
}

#[test]
fn each_flag_is_taken_as_llama_cpp_takes_it() {
    let plain = tokens(&[]);
    for flags in [
        &["--device", "none"][..],
        &["-dev", "none"],
        &["--main-gpu", "0"],
        &["-mg", "-1", "-sm", "none"],
        &["--split-mode", "none"],
        &["--split-mode", "layer"],
        &["-sm", "row"],
        &["--tensor-split", "1"],
        &["-ts", "1"],
        &["--override-tensor", r"blk\.0\.ffn_(up|down)=CPU"],
        &["-ot", "attn=CPU,ffn=CPU"],
        &["-ngl", "all"],
        &["-ngl", "auto"],
        &["-ngl", "-1"],
        &["-ngl", "0"],
        &["-ngl", "1"],
        &["--cpu-moe"],
        &["-cmoe"],
        &["--n-cpu-moe", "1"],
        &["-ncmoe", "0"],
    ] {
        assert_eq!(tokens(flags), plain, "{flags:?}");
    }
}

#[test]
fn wrong_values_are_refused_in_one_line() {
    for (flags, words) in [
        (&["--device", "CUDA77"][..], &["CUDA77", "--device"][..]),
        (&["--device", "CPU"], &["\"CPU\"", "--device"]),
        (&["--device", ""], &["--device", "or none"]),
        (&["--main-gpu", "77"], &["77", "--main-gpu"]),
        (&["--main-gpu", "-2"], &["--main-gpu", "-2"]),
        (&["--split-mode", "columns"], &["columns", "layer"]),
        (&["--device", "none", "-sm", "tensor"], &["--split-mode"]),
        (
            &["--tensor-split", "1,2,x"],
            &["--tensor-split", "such as 3,1"],
        ),
        (
            &["--tensor-split", "0,0"],
            &["--tensor-split", "at least 0"],
        ),
        (
            &["--device", "none", "-ts", "1,1"],
            &["2 shares", "--tensor-split"],
        ),
        (&["--override-tensor", "ffn"], &["PATTERN=DEVICE"]),
        (
            &["-ot", "ffn=ROCm77"],
            &["ROCm77", "CPU", "--override-tensor"],
        ),
        (&["-ngl", "some"], &["--n-gpu-layers", "auto, or all"]),
        (&["--n-cpu-moe", "x"], &["--n-cpu-moe"]),
        (&["--num-gpus-per-model", "0"], &["--num-gpus-per-model"]),
        (
            &["--device", "none", "--num-gpus-per-model", "2"],
            &["2 of the devices", "are none", "--num-gpus-per-model"],
        ),
    ] {
        assert_refused(&generate(&[&["-p", "x"], flags].concat()), words);
    }
}

#[test]
fn a_pattern_that_is_none_is_refused() {
    let output = generate(&["-p", "x", "-ot", "(=CPU"]);
    assert_refused(&output, &["regular expression", "--override-tensor"]);
}

#[test]
fn a_context_larger_than_the_memory_is_refused_with_the_figure() {
    let huge = ["-p", "x", "-c", "2000000000"];
    let words = [
        "tiny-llama",
        "GiB for the cache",
        "are free",
        "-c/--ctx-size",
    ];
    assert_refused(&generate(&huge), &words);
}

#[test]
fn devices_are_listed_with_their_memory() {
    let listed = json(&run(&["devices", "--json"]));
    let devices = listed["devices"].as_array().unwrap();
    let cpu = devices.iter().find(|it| it["kind"] == "CPU").unwrap();
    assert!(cpu["memory_total"].as_u64() > Some(1 << 20), "{cpu}");
    let table = run(&["devices"]);
    assert!(stdout(&table).contains("CPU"), "{}", stderr(&table));
}

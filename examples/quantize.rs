//! Writes a GGUF with weights of another type: `quantize IN.gguf OUT.gguf TYPE`.

use logitspec::runtime::llama::quantize;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, name] = &args[..] else {
        return Err("usage: quantize IN.gguf OUT.gguf TYPE".into());
    };
    Ok(quantize(from.as_ref(), to.as_ref(), name, 2)?)
}

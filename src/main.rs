fn main() {
    println!("{}", llama_cpp_2::token::LlamaToken(1));
}

//! A llama-server as one more method.

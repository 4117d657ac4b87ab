# The HTTP server in a container, with the model of this repository:
#
#   docker build -t logitspec .
#   docker run --rm -p 127.0.0.1:8080:8080 logitspec
#
# With a model of yours, and with a key, which every address but your own machine's needs:
#
#   docker run --rm -p 8080:8080 -v "$PWD":/models -e LOGITSPEC_API_KEY logitspec \
#       serve --host 0.0.0.0 -m /models/model.gguf
#
# Build arguments:
#
#   BACKEND=cuda         for NVIDIA GPUs; run it with --gpus all
#   CUDA_ARCHITECTURES   what to build for, such as 90; fewer build faster
#   CPU=native           for the processor that builds; without it, any x86-64 with AVX2, or any ARM
ARG BACKEND=cpu

FROM rust:1-bookworm AS tools-cpu
ENV FEATURES=""

FROM nvidia/cuda:12.8.1-devel-ubuntu24.04 AS tools-cuda
COPY --from=rust:1-bookworm /usr/local/rustup /usr/local/rustup
COPY --from=rust:1-bookworm /usr/local/cargo /usr/local/cargo
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:$PATH
# Without VMM the program starts on machines that have no driver.
ENV FEATURES="cuda,cuda-no-vmm"

FROM tools-${BACKEND} AS build
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        cmake g++ libclang-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /logitspec
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock build.rs ./
COPY benches benches
COPY crates crates
COPY src src
ARG CPU=""
ARG CUDA_ARCHITECTURES=""
# RUSTFLAGS takes the place of target-cpu=native in .cargo/config.toml.
RUN cpu=$CPU; \
    if [ -z "$cpu" ]; then \
        case $(uname -m) in x86_64) cpu=x86-64-v3 ;; *) cpu=generic ;; esac; \
    fi; \
    if [ -n "$CUDA_ARCHITECTURES" ]; then \
        export CMAKE_CUDA_ARCHITECTURES=$CUDA_ARCHITECTURES; \
    fi; \
    RUSTFLAGS="-C target-cpu=$cpu" \
        cargo build --release --locked --bin logitspec --features "$FEATURES"

FROM debian:bookworm-slim AS run-cpu
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        libgomp1 libstdc++6 \
    && rm -rf /var/lib/apt/lists/*

FROM nvidia/cuda:12.8.1-runtime-ubuntu24.04 AS run-cuda
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        libgomp1 \
    && rm -rf /var/lib/apt/lists/*

FROM run-${BACKEND}
RUN useradd --create-home logitspec
COPY --from=build /logitspec/target/release/logitspec /opt/logitspec/
# Beside the program, where it looks for it.
COPY data/models/logitspec-demo.gguf /opt/logitspec/
COPY LICENSE-APACHE LICENSE-MIT /opt/logitspec/
USER logitspec
EXPOSE 8080
ENTRYPOINT ["/opt/logitspec/logitspec"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8080"]

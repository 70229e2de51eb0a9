# The images of docker-compose.yml; docs/compose.md says how to use them. Needs BuildKit.
#
# `wasmbed` has the programs, `host` QEMU and firmware as well, `mosquitto` and `prometheus` the profiles of those
# names. All are Debian, run as one user without a name to anybody else, and hold no secret.

ARG DEBIAN_IMAGE=debian:bookworm-slim
# With rustup, for it adds the targets of the boards.
ARG RUST_IMAGE=rust:1.95-slim-bookworm
# Where /out comes from, which `cargo xtask dist` makes: built here, or an image that has it.
ARG BUILT=build

FROM ${RUST_IMAGE} AS build
# Lists stay: Debian's kernel for the board linux-x86-64 is downloaded by them.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends \
        binutils binutils-xtensa-lx106 ca-certificates clang e2fsprogs gcc libc6-dev make
WORKDIR /src
COPY . .
ENV WASMBED_RELEASE=1
RUN --mount=type=cache,target=/src/target --mount=type=cache,target=/usr/local/cargo/registry \
    cargo xtask dist --output /out

FROM ${BUILT} AS built

FROM ${DEBIAN_IMAGE} AS base
# The folders that volumes are mounted on; an empty volume takes over whose they are.
RUN groupadd --gid 10001 wasmbed \
    && useradd --uid 10001 --gid wasmbed --no-create-home --home-dir /var/lib/wasmbed wasmbed \
    && cd /var/lib && install -d -m 700 -o wasmbed -g wasmbed \
        /etc/wasmbed agent authority authority-key firmware wasmbed \
        identities identities/agent identities/broker identities/hosts identities/operator identities/service
COPY docker/ /usr/local/lib/wasmbed/
ENV NO_COLOR=1 WASMBED_DATA_DIR=/var/lib/wasmbed
WORKDIR /var/lib/wasmbed
USER wasmbed

FROM base AS wasmbed
COPY --from=built /out/bin /usr/local/bin
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["wasmbed", "health"]

FROM base AS host
USER root
# The emulators of boards we have, of those the packages bring.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends qemu-system-arm qemu-system-misc qemu-system-x86 \
    && find /usr/bin -name 'qemu-system-*' ! -name '*-arm' ! -name '*-riscv32' ! -name '*-xtensa' ! -name '*-x86_64' -delete \
    && rm -rf /var/lib/apt/lists/*
USER wasmbed
COPY --from=built /out/bin /usr/local/bin
COPY --from=built /out/images /usr/local/share/wasmbed/images
COPY --from=built /out/modules /usr/local/share/wasmbed/modules
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["wasmbed", "health"]

FROM base AS mosquitto
USER root
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends mosquitto \
    && rm -rf /var/lib/apt/lists/*
USER wasmbed
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["pidof", "mosquitto"]

FROM base AS prometheus
USER root
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends prometheus \
    && rm -rf /var/lib/apt/lists/*
USER wasmbed
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 \
    CMD ["promtool", "query", "instant", "http://127.0.0.1:9090", "vector(1)"]

# The image: one static binary and the CA roots, nothing else. Works with BuildKit and with the classic builder.
# Where the builder image cannot be pulled, `make image BUILDER=host` uses Dockerfile.host; keep the two in step.
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# What `vsc_build_info` shows.
ARG VSC_REVISION=
RUN cargo build --locked --profile image \
    && mkdir -p dist \
    && cp target/x86_64-unknown-linux-gnu/image/volume-syncing-controller /etc/ssl/certs/ca-certificates.crt dist/

FROM scratch
COPY --from=build /build/dist/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/dist/volume-syncing-controller /usr/bin/volume-syncing-controller
LABEL org.opencontainers.image.title="volume-syncing-controller" \
      org.opencontainers.image.description="Keeps a Pod's directory in an object store, end-to-end encrypted" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV REMOTE_TYPE=s3
WORKDIR /mnt
USER 65532:65532
ENTRYPOINT ["/usr/bin/volume-syncing-controller"]

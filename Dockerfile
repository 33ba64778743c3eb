# The operator's image, for builders with a Docker engine; `make image` makes the same files into one without.
#
#   docker build --build-arg VERSION=1.2.3 --build-arg REVISION=$(git rev-parse HEAD) --tag buckethead:1.2.3 .
FROM rust:1.95.0-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --locked --release --bin buckethead && e2e/image.sh root target/release/buckethead /image

FROM scratch
ARG VERSION=unknown REVISION=unknown
LABEL org.opencontainers.image.title=buckethead \
      org.opencontainers.image.description="SQLite databases in memory and kept in your bucket" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION
COPY --from=build /image/base /
COPY --from=build /image/program /
WORKDIR /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/buckethead"]

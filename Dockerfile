# Two images, both for the user 10001 and fit for a read-only root file system:
#
#   docker build -t pushpost .                      with Postgres's programs: runs without a database of its own
#   docker build -t pushpost:slim --target slim .   without: needs database.url; of the root it writes to nothing
#
# --build-arg PUSHPOST_COMMIT="$(git rev-parse --short=12 HEAD)" has the metric pushpost_build_info name the commit.
#
# The image with Postgres writes to /tmp and to the volume /var/lib/pushpost:
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges -p 8080:8080 \
#     -v pushpost:/var/lib/pushpost -v ./config:/etc/pushpost -e PUSHPOST_CONFIG=/etc/pushpost/pushpost.toml pushpost
FROM rust:1.95-slim-bookworm AS build
# The crypto library is C and assembler.
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential cmake \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
COPY .sqlx .sqlx
COPY migrations migrations
COPY benches benches
COPY crates crates
COPY docs docs
COPY src src
COPY tests tests
# Last, because all that follows a changed argument is built again.
ARG PUSHPOST_COMMIT=
RUN SQLX_OFFLINE=true PUSHPOST_COMMIT="$PUSHPOST_COMMIT" cargo build --profile dist --locked --bin pushpost

FROM debian:bookworm-slim AS slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --system --gid 10001 pushpost \
 && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/pushpost --create-home pushpost \
 # A platform that chooses the user id (OpenShift) gives it the group 0.
 && chgrp 0 /var/lib/pushpost && chmod 0770 /var/lib/pushpost
COPY --from=build /build/target/dist/pushpost /usr/local/bin/pushpost
# In numbers, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 10001:10001
WORKDIR /var/lib/pushpost
ENV PUSHPOST__SERVER__LISTEN=0.0.0.0:8080
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s CMD ["pushpost", "healthcheck"]
ENTRYPOINT ["pushpost"]
CMD ["serve"]

FROM slim
USER root
# No cluster of Debian's own: pushpost makes one where it needs one.
RUN mkdir -p /etc/postgresql-common \
 && echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf \
 && apt-get update \
 && apt-get install -y --no-install-recommends -o Dpkg::Options::=--force-confold libnss-wrapper postgresql \
 && rm -rf /var/lib/apt/lists/*
USER 10001:10001
ENV PUSHPOST__DATABASE__DATA_DIR=/var/lib/pushpost/data
VOLUME /var/lib/pushpost

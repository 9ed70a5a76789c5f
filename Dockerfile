# Two images: "backend", a node, and "reverse-proxy", nginx with the web app inside.

FROM rust:1.95-trixie AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
COPY benches benches
COPY migrations migrations
COPY src src
RUN --mount=type=cache,sharing=locked,target=/usr/local/cargo/registry --mount=type=cache,sharing=locked,target=/build/target \
    cargo build --release --locked && install -D target/release/discodeit /out/discodeit

FROM debian:trixie-slim AS backend
# Kafka's client uses OpenSSL.
RUN apt-get update && apt-get install -y --no-install-recommends libssl3t64 && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin discodeit
COPY --from=build /out/discodeit /usr/local/bin/discodeit
COPY deploy/backend/entrypoint /usr/local/bin/entrypoint
# CA certificates, to verify the HTTPS endpoint of an S3 bucket.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# A new volume mounted here inherits this owner.
RUN install -d -o 10001 -g 10001 /var/lib/discodeit/files
USER 10001
# A password hash takes 19 MiB. With a fixed threshold glibc returns that memory; otherwise it keeps 19 MiB for each thread
# that has computed a hash.
ENV LISTEN=0.0.0.0:8080 MALLOC_MMAP_THRESHOLD_=4194304
EXPOSE 8080
ENTRYPOINT ["entrypoint"]

FROM node:22-trixie-slim AS web
WORKDIR /clients/typescript
COPY clients/typescript/package.json clients/typescript/package-lock.json clients/typescript/.npmrc ./
RUN --mount=type=cache,target=/root/.npm npm ci --omit=dev --no-audit --no-fund
WORKDIR /web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN --mount=type=cache,target=/root/.npm npm ci --omit=dev --no-audit --no-fund
COPY clients/typescript/src /clients/typescript/src
COPY web .
RUN npm run --silent build

FROM nginx:1.29 AS reverse-proxy
COPY nginx.conf deploy/nginx/upstream.conf deploy/nginx/listen.conf /etc/nginx/
COPY deploy/nginx/outer-proxies /usr/local/bin/
COPY deploy/nginx/40-outer-proxies.sh /docker-entrypoint.d/
RUN ln -s /tmp/outer_proxies.conf /etc/nginx/outer_proxies.conf
COPY --from=web /dist /srv/web
USER nginx
EXPOSE 3000
# Stops nginx at once, even with open streams: clients reconnect by themselves.
STOPSIGNAL SIGTERM
# nginx writes only to /tmp, so the rest of the filesystem can be read-only.
CMD ["nginx", "-e", "stderr", "-p", "/tmp/", "-g", "daemon off;"]

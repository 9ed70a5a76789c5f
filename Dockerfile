# Two images: "backend", a node, and "reverse-proxy", nginx with the web app inside.

FROM rust:1.95-trixie AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock schema.sql ./
COPY src src
RUN --mount=type=cache,sharing=locked,target=/usr/local/cargo/registry --mount=type=cache,sharing=locked,target=/build/target \
    cargo build --release --locked && install -D target/release/discodeit /out/discodeit

FROM debian:trixie-slim AS backend
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin discodeit
COPY --from=build /out/discodeit /usr/local/bin/discodeit
COPY deploy/backend/entrypoint /usr/local/bin/entrypoint
# For an S3 bucket: the certificates that HTTPS is checked with.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# A volume that is mounted here for the first time takes over this owner.
RUN install -d -o 10001 -g 10001 /var/lib/discodeit/files
USER 10001
# A password hash takes 19 MiB. With a fixed threshold glibc gives it back; else it keeps that much for each thread that
# ever made one.
ENV LISTEN=0.0.0.0:8080 MALLOC_MMAP_THRESHOLD_=4194304
EXPOSE 8080
ENTRYPOINT ["entrypoint"]

FROM node:22-trixie-slim AS web
WORKDIR /web
COPY dist/package.json dist/package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --omit=dev --no-audit --no-fund
COPY dist .
RUN npm run --silent vendor && rm -rf node_modules tools package.json package-lock.json tsconfig.json

FROM nginx:1.29 AS reverse-proxy
COPY nginx.conf deploy/nginx/upstream.conf deploy/nginx/listen.conf /etc/nginx/
COPY --from=web /web /srv/web
USER nginx
EXPOSE 3000
# At once, whatever streams are open: clients come back by themselves.
STOPSIGNAL SIGTERM
# What it writes goes to /tmp, so the rest can be read-only.
CMD ["nginx", "-e", "stderr", "-p", "/tmp/", "-g", "daemon off;"]

FROM debian:12-slim
COPY --from=node:20-bookworm-slim /usr/local/bin/node /usr/local/bin/node
COPY --from=node:20-bookworm-slim /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx
WORKDIR /opt/berth
COPY tools/packages tools/packages
RUN apt-get update && sed 's/#.*//' tools/packages \
    | DEBIAN_FRONTEND=noninteractive xargs apt-get install -y -q --no-install-recommends && rm -rf /var/lib/apt/lists/*
COPY . .
RUN npm ci --loglevel=error --no-audit --no-fund --ignore-scripts \
    && NX_DAEMON=false npx --no-install nx run-many -t build --outputStyle=static \
    && tools/microvm/build .berth/microvm .berth/samples/.cache && rm -rf .berth/samples /var/lib/apt/lists/*

#!/bin/sh
# The entrypoint of nginx's image runs this before nginx. /etc/nginx/outer_proxies.conf is a link to the file written here,
# because the image's own filesystem is read-only.
set -eu
outer-proxies > /tmp/outer_proxies.conf

#!/bin/sh
# Makes sure that the browser tests have a Chromium: one that is there, or Debian's package.
set -eu

if [ -n "${FITROOM_CHROMIUM:-}" ] || command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1; then
    exit 0
fi

root=""
if [ "$(id -u)" != 0 ]; then
    root="sudo -n"
    $root true 2>/dev/null || root="none"
fi
if ! command -v apt-get >/dev/null 2>&1 || [ "$root" = none ]; then
    echo "The browser tests need Chromium: install it, or name one in FITROOM_CHROMIUM." >&2
    exit 1
fi
echo "Installing Debian's chromium for the browser tests ..."
export DEBIAN_FRONTEND=noninteractive
$root apt-get -qq update
$root apt-get -qq install -y --no-install-recommends chromium fonts-dejavu-core >/dev/null

#!/bin/sh
# Installs the npm packages of each function that has a lock file, exactly as locked, and only when that file has changed.
set -eu
cd "$(dirname "$0")"
for lock in */package-lock.json; do
  folder=$(dirname "$lock")
  mark=$folder/node_modules/.installed-lock
  if ! cmp -s "$lock" "$mark"; then
    echo "installing the packages of functions/$folder"
    (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null)
    cp "$lock" "$mark"
  fi
done

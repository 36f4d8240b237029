# Shared by the other scripts: where things are, and how to say things.  Sourced, not run.
# shellcheck shell=bash

set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$top"
script=$(basename "$0")

say() { printf '%s: %s\n' "$script" "$*" >&2; }

die() {
  say "$*"
  exit 1
}

# Images with Python often forbid byte code; then every start of the command compiles all of it again, and takes twice the
# processor time, and pytest rewrites every file of tests in each of its workers.
unset PYTHONDONTWRITEBYTECODE

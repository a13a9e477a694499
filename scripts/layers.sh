#!/usr/bin/env bash
# Checks where things may be used: each line of the table is a pattern and the only files that may hold it.
# Tests and comments do not count. Exit code 1 when something is outside its border; prints file, line and rule.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

found=0

# What is compiled into the program: without test modules and comments, each line behind file and number.
program() {
  local file
  while IFS= read -r file; do
    awk -v file="$file" '
      /^#\[cfg\(test\)\]/ { test = 1; next }
      test && /^mod [a-z_]+ \{/ { exit }
      { test = 0 }
      !/^ *\/\// { print file ":" FNR ": " $0 }' "$file"
  done < <(find src -name '*.rs' ! -name '*tests.rs' | sort)
}

# only RULE PATTERN FILES: the pattern (extended regular expression) stands in no other file.
only() {
  local outside
  outside=$(grep -E -- "$2" <<<"$code" | grep -vE "^($3):" || true)
  [ -n "$outside" ] || return 0
  printf '%s\n%s\n' "$1:" "$outside" | sed '2,$s/^/  /'
  found=1
}

code=$(program)
# In mod.rs and error.rs the clients' error types.
only 'rdkafka belongs to the producer, the consumer, topics and cuts, and to the errors' \
  '\brdkafka::' 'src/publish/(kafka|poller|reach|topics|cuts|error)\.rs|src/consume/(kafka|members|mod)\.rs|src/error\.rs'
only 'tokio_postgres belongs to sessions, capture, the tail, retention, the applier, verify, and to the errors' \
  '\btokio_postgres::' 'src/session\.rs|src/capture/[a-z_]+\.rs|src/tail/(postgres|lock|load|acknowledge|error|mod)\.rs|src/apply/postgres/[a-z_]+\.rs|src/verify/postgres\.rs|src/retention/[a-z_]+\.rs|src/error\.rs'
only 'the ClickHouse client belongs to one file' '(^|[^:[:alnum:]_])clickhouse::[^S]' 'src/mirror/clickhouse\.rs'
only 'identifiers become SQL through quote_ident, and for ClickHouse through mirror/sql.rs' \
  '(from|into|update|join|schema|trigger|function|sequence|only) \\"\{' 'src/table\.rs|src/mirror/sql\.rs'
only 'no unwrap: what cannot fail says why with expect' '\.unwrap\(\)' '-'
only 'the vocabulary does no I/O' '\b(tokio|rdkafka|tokio_postgres|std::(fs|net|process))::|async fn' \
  'src/(session|main|lib|failpoint|error|config|cli/.*|capture/.*|tail/.*|publish/.*|offset/.*|consume/.*|apply/.*|mirror/.*|verify/.*|runtime/.*|config/.*|telemetry.*|tls|snapshot.*|retention.*)(\.rs)?'
only 'a process ends in main alone, or at a second signal' 'process::exit|eprintln!' 'src/main\.rs'

if cargo tree --locked --edges normal --prefix none | grep -q '^fail v'; then
  echo 'failpoints belong to tests: the crate fail is part of an ordinary build' && found=1
fi

[ $found = 0 ] && echo 'layers: as they should be'
exit $found

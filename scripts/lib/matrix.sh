# shellcheck shell=bash
# Sourced by test.sh: the integration tests between other versions of PostgreSQL than the services have. Each pair gets a
# source and a destination of its own, on free ports and in a temporary folder, removed at the end; Kafka and ClickHouse
# are those of the services.

# Source and destination; every version as both, and the oldest and the newest beside each other.
version_pairs() {
  local oldest=${postgres_majors[0]} newest=${postgres_majors[-1]} major
  if [ "$1" = quick ]; then
    echo "$oldest:$newest $newest:$oldest"
  else
    for major in "${postgres_majors[@]}"; do echo "$major:$major"; done
    echo "$oldest:$newest $newest:$oldest"
  fi
}

# What differs between versions, if anything does: catalogs, triggers, rights, snapshots, recovery, values.
quick_tests=(
  apply::tables::a_key_without_overlaps_is_none_to_write_by
  apply::tables::a_missing_right_is_a_matter_of_setup
  apply::tables::a_missing_table_is_created_as_declared
  apply::tables::generated_and_identity_columns_are_the_destinations_own
  apply::tables::partitioned_destinations_take_changes
  apply::values::every_type_comes_back_equal_by_copy
  capture::a_unique_index_can_be_chosen_as_the_key
  capture::an_application_role_needs_no_privilege_of_ours_and_gets_none
  capture::every_operation_is_logged_in_every_mode
  capture::partitions_are_captured_through_the_parent_and_directly
  capture::tables_that_cannot_be_captured_are_refused_by_name_and_nothing_is_changed
  capture::verify_and_the_fingerprint_notice_what_capture_depends_on
  passes::adversary::passes_are_exact_with_reread_and_user_triggers
  passes::adversary::passes_are_exact_with_row
  passes::late::a_row_that_commits_late_is_read_exactly_once
  pipeline::constraints::constraints_of_every_kind_are_met_where_foreign_keys_cannot_be_turned_off
  pipeline::everyday::every_kind_of_change_and_value_arrives_in_three_stores
  retention::full::a_full_log_stops_its_table_without_any_daemon_and_init_lets_it_go_on
  retention::removed::only_old_rows_that_every_pipeline_has_published_are_removed
  source::altered::what_was_switched_off_and_on_again_halts_until_init_accepts_it
  source::failures::a_promoted_standby_that_lacks_a_late_row_is_refused_by_its_timeline
  source::failures::a_restored_backup_is_refused_however_far_it_has_moved_on
  source::sequence::a_role_that_may_not_read_the_sequence_is_told_the_grant
  verify::planted::planted_differences_are_found_and_named_at_the_destination
  versions::a_key_without_overlaps_is_refused
  versions::a_not_null_that_was_never_checked_is_none
  versions::a_value_that_an_older_destination_does_not_know_halts_by_name
  versions::a_transaction_timeout_of_the_database_does_not_end_a_pass
  versions::merge_that_returns_rows_is_captured
  versions::nulls_that_are_not_distinct_make_no_key
  versions::virtual_columns_arrive_with_their_values
)

# on_versions SOURCE DESTINATION COMMAND…: with the addresses of such a pair in the environment.
on_versions() (
  folder=$(mktemp -d)
  trap 'scripts/services.sh down --purge >/dev/null 2>&1; rm -rf "$folder"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  export TRIPLINE_KAFKA_PORT=${TRIPLINE_KAFKA##*:} TRIPLINE_CLICKHOUSE_PORT=${TRIPLINE_CLICKHOUSE_URL##*:}
  export TRIPLINE_SERVICES=native TRIPLINE_SERVICES_DIR=$folder TRIPLINE_SOURCE_PG=$1 TRIPLINE_DESTINATION_PG=$2
  shift 2
  TRIPLINE_SOURCE_PORT=$(free_port 5600)
  TRIPLINE_DESTINATION_PORT=$(free_port $((TRIPLINE_SOURCE_PORT + 1)))
  export TRIPLINE_SOURCE_PORT TRIPLINE_DESTINATION_PORT
  scripts/services.sh up source destination || exit 1
  eval "$(scripts/services.sh env)"
  "$@"
)

# The first one from here on.
free_port() {
  local port=$1
  while port_open "$port"; do port=$((port + 1)); done
  echo "$port"
}

# versions quick|all: prints what came of each pair at the end; 1 when anything failed.
versions() {
  local pair start tests=() log passed failed result=0 rows=()
  eval "$(scripts/services.sh env)"
  [ "$1" = all ] || tests=(--exact "${quick_tests[@]}")
  log=$(mktemp)
  for pair in $(version_pairs "$1"); do
    start=$SECONDS
    printf '\n-- PostgreSQL %s to %s\n' "${pair%:*}" "${pair#*:}"
    on_versions "${pair%:*}" "${pair#*:}" cargo test --locked --test it -- "${tests[@]}" 2>&1 | tee "$log" || result=1
    passed=$(sed -n 's/^test result: .* \([0-9]*\) passed; .*/\1/p' "$log")
    failed=$(sed -n 's/^test result: .* \([0-9]*\) failed; .*/\1/p' "$log")
    if [ "$1" = quick ] && [ "${passed:-0}" != ${#quick_tests[@]} ]; then
      say "$passed of the ${#quick_tests[@]} tests that scripts/lib/matrix.sh names have passed"
      result=1
    fi
    rows+=("$(printf '%-8s %-12s %8s %8s %7d s' "${pair%:*}" "${pair#*:}" "${passed:--}" "${failed:--}" $((SECONDS - start)))")
  done
  rm -f "$log"
  printf '\n%-8s %-12s %8s %8s %9s\n' source destination passed failed time
  printf '%s\n' "${rows[@]}"
  return $result
}

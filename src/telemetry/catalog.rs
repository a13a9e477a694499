//! Every metric by name: docs/metrics.md has the same table, and a test compares the two.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; begins again at 0 with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name, with the base unit at the end; counters end in `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident $kind:ident $name:literal $labels:tt $help:literal)*) => {
        $(#[doc = $help] pub const $constant: &str = $name;)*
        /// All of them.
        pub const METRICS: &[Metric] = &[$(Metric { name: $name, kind: Kind::$kind, labels: &$labels, help: $help }),*];
    };
}

metrics! {
    BUILD Gauge "tripline_build_info" ["version"] "Always 1; the label is the version of the program."
    READY Gauge "tripline_ready" ["task"] "1 once a task has read a first pass, or has applied a batch or found none to apply; 0 after an error until it has again."
    STEP Gauge "tripline_stage_step_seconds" ["task", "stage"] "How long a stage has been at the step that it is at; 0 while it waits for something to do."
    RESTARTS Counter "tripline_restarts_total" ["task"] "Times that a task lost a connection or was refused for a while, and started again."
    ERRORS Counter "tripline_errors_total" ["task", "kind"] "Errors that a task ended with, by what they are about: away, disk, trust, rights, configuration, other."
    ROWS_BEHIND Gauge "tripline_rows_behind" ["stage"] "Rows that wait. source: log rows that are not published, at most; postgres, clickhouse: rows of published parts that are not applied."
    SECONDS_BEHIND Gauge "tripline_seconds_behind" ["stage"] "Age of the oldest state of the source that a stage still has to take over, by the source's clock."
    PASS Gauge "tripline_pass" ["stage"] "Last pass of which something was published or applied."
    OLDEST Gauge "tripline_oldest_transaction_seconds" [] "Time for which the oldest open transaction of the source's cluster that has written has been seen; it holds the offset back, but nothing else."
    CLOCK_JUMPS Counter "tripline_clock_jumps_total" [] "Times that the source's clock went on by another time than passed here: it was set, or this machine slept."
    OFFSET Gauge "tripline_offset" [] "The cdc_id at and below which everything is settled, as published."
    LOG_BYTES Gauge "tripline_log_bytes" [] "What all log tables at the source take, with their indexes."
    LOG_MOST Gauge "tripline_log_max_bytes" [] "What they may take, retention.max_log_bytes; no series without."
    LOG_OLDEST Gauge "tripline_log_oldest_row_seconds" [] "Age of the oldest log row, by the source's clock; 0 when there is none."
    STOPPED Gauge "tripline_stopped_tables" [] "Tables of which nothing is logged any more, because their log was full and on_full is stop."
    REMOVED Counter "tripline_log_rows_removed_total" [] "Log rows that retention has removed."
    RETENTION_AT Gauge "tripline_retention_success_timestamp_seconds" [] "When retention last had nothing left to do, by the clock of the daemon's machine; no series before, and without retention."
    RETENTION_FAILURES Counter "tripline_retention_failures_total" [] "Times that retention was refused or lost its connection, and was tried again; publishing goes on."
    PASSES Counter "tripline_passes_total" [] "Passes that were read to their end and had something to publish."
    PASS_ROWS Histogram "tripline_pass_rows" [] "Log rows of a pass."
    WINDOW_ROWS Histogram "tripline_window_rows" [] "Log rows of a window, which is one part of a pass."
    WINDOW_BYTES Histogram "tripline_window_bytes" [] "Bytes of keys and values of a window."
    READ_TIME Histogram "tripline_read_seconds" [] "Time to open and read a window."
    RESCANNED Counter "tripline_rescanned_ids_total" [] "Ids that a pass went over although an earlier one had, for transactions that ended late."
    LOCKED Counter "tripline_locked_passes_total" [] "Passes that were given up and tried again because somebody had locked a log table."
    PUBLISHED Counter "tripline_published_rows_total" [] "Log rows and existing rows that Kafka has confirmed."
    PRODUCE_TIME Histogram "tripline_produce_seconds" [] "Time to send the messages of a part and to have them acknowledged."
    COMMIT_TIME Histogram "tripline_commit_seconds" [] "Time to write the cut of a part and to commit it."
    OFFSET_TIME Histogram "tripline_offset_save_seconds" [] "Time to write the offset file, with both fsyncs."
    APPLIED Counter "tripline_applied_rows_total" ["target"] "Changes that a target has taken, without those that later ones in the same batch overtook."
    BATCHES Counter "tripline_batches_total" ["target"] "Batches that a target has taken."
    BATCH_ROWS Histogram "tripline_batch_rows" ["target"] "Changes of a batch."
    BATCH_BYTES Histogram "tripline_batch_bytes" ["target"] "Bytes of keys and rows of a batch."
    APPLY_TIME Histogram "tripline_apply_seconds" ["target"] "Time for a batch at the target, positions included."
    SECOND_ATTEMPTS Counter "tripline_second_attempts_total" ["target"] "Batches applied a second time because rows were there that had not been expected."
    REPLAYS Counter "tripline_replays_total" ["target"] "Batches applied change by change, in exact order, because a constraint refused them folded."
    NEEDS_ALL Counter "tripline_needs_all_total" ["target"] "Times that a target asked for the changes that later ones had overtaken, and reading began again with all of them."
    OUT_OF_RANGE Counter "tripline_mirror_out_of_range_total" ["table", "column", "policy"] "Values that the type of their column in ClickHouse cannot hold and for which something else stands; no series without any."
    VERIFIED_PASS Gauge "tripline_verified_pass" ["target"] "Last pass at whose end `tripline verify` has compared a target; no series before it has."
    VERIFIED_AT Gauge "tripline_verified_timestamp_seconds" ["target"] "When that was, by the clock of the machine that it ran on."
    VERIFIED_DIFFERING Gauge "tripline_verified_differing_rows" ["target"] "Rows that differed then."
    VERIFIED_FAILED Gauge "tripline_verified_failed_tables" ["target"] "Tables that could not be compared then."
}

/// Says to the recorder what each metric is.
pub(super) fn describe() {
    for metric in METRICS {
        let unit = match metric.name {
            name if name.ends_with("_seconds") => Unit::Seconds,
            name if name.ends_with("_bytes") => Unit::Bytes,
            _ => Unit::Count,
        };
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, unit, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, unit, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, unit, metric.help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../docs/metrics.md");

    /// The rows of the page's table: name, kind, labels, text.
    fn documented() -> Vec<[String; 4]> {
        let lines = PAGE.lines().filter(|line| line.starts_with("| `tripline_"));
        let row = |line: &str| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(|cell| cell.trim()).collect();
            assert_eq!(cells.len(), 4, "{line}");
            [cells[0].trim_matches('`'), cells[1], cells[2], cells[3]].map(str::to_owned)
        };
        lines.map(row).collect()
    }

    #[test]
    fn the_page_has_every_metric_as_it_is() {
        let kind = |metric: &Metric| format!("{:?}", metric.kind).to_lowercase();
        let row = |metric: &Metric| {
            [metric.name.to_owned(), kind(metric), metric.labels.join(", "), metric.help.to_owned()]
        };
        let known: Vec<_> = METRICS.iter().map(row).collect();
        let table: Vec<String> = known
            .iter()
            .map(|[name, kind, labels, help]| format!("| `{name}` | {kind} | {labels} | {help} |"))
            .collect();
        assert_eq!(documented(), known, "docs/metrics.md should have:\n{}", table.join("\n"));
    }

    #[test]
    fn names_are_in_base_units_and_counters_end_in_total() {
        for Metric { name, kind, .. } in METRICS {
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
            for unit in ["_ms", "_millis", "_micros", "_minutes", "_kb", "_mb"] {
                assert!(!name.contains(unit), "{name}");
            }
        }
    }

    /// Words in a file that look like our metrics, without what Prometheus appends to a histogram.
    fn used(text: &str) -> std::collections::BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let base = |word: &str| {
            let histogram =
                |name: &&str| METRICS.iter().any(|m| m.name == *name && m.kind == Kind::Histogram);
            let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| word.strip_suffix(part));
            parts.into_iter().find(histogram).unwrap_or(word).to_owned()
        };
        words.filter(|word| word.starts_with("tripline_")).map(base).collect()
    }

    #[test]
    fn rules_and_dashboard_name_metrics_that_there_are() {
        let files = [
            include_str!("../../packaging/prometheus/alerts.yml"),
            include_str!("../../packaging/prometheus/alerts_test.yml"),
            include_str!("../../packaging/grafana/tripline.json"),
        ];
        for file in files {
            let used = used(file);
            assert!(!used.is_empty());
            for name in used {
                assert!(METRICS.iter().any(|metric| metric.name == name), "there is no metric {name}");
            }
        }
    }
}

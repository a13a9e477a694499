use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::position::{Inside, Load, Snapshot};
use crate::table::TableName;

fn source(system: u64, database: &str) -> Identity {
    let database = database.to_owned();
    Identity { system, timeline: 1, postmaster_start: 1_767_323_045_678_901, database, in_recovery: false }
}

fn anchor(cdc_id: u64, txid: u64, at_micros: i64) -> Anchor {
    Anchor { log_table: TableName::new("cdc", "orders_cdc"), cdc_id, txid, at_micros }
}

fn stored(pass: u64, inside: Option<(u32, u64)>, offset: u64) -> Stored {
    let until = || "120:140:120".parse().unwrap();
    Stored {
        format: FORMAT,
        pipeline: "shop".into(),
        source: source(7_412_345_678_901_234_567, "shop"),
        sequence: "cdc.cdc_id_seq".into(),
        position: Position {
            pass,
            base: "100:120:100,105".parse().unwrap(),
            offset,
            inside: inside.map(|(part, cursor)| Inside { until: until(), cursor, part }),
            load: None,
        },
        epoch: 3,
        cuts_offset: Some(41),
        anchors: vec![anchor(990, 99, 1_767_323_045_678_901)],
        saved_at: String::new(),
    }
}

/// A directory with a pipeline `shop` that has saved passes 1 and 2.
fn saved() -> (TempDir, OffsetDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut offsets = OffsetDir::lock(dir.path(), "shop").unwrap();
    assert_eq!(offsets.load().unwrap(), None, "a first start");
    offsets.save(&stored(1, None, 900)).unwrap();
    offsets.save(&stored(2, None, 1000)).unwrap();
    (dir, offsets)
}

fn position(stored: Option<Stored>) -> (u64, u64) {
    stored.map(|stored| (stored.position.pass, stored.position.offset)).unwrap()
}

fn put(dir: &Path, name: &str, bytes: &[u8]) {
    fs::write(dir.join(name), bytes).unwrap();
}

/// Bytes of a file whose checksum is right, whatever the state.
fn framed(state: &str) -> Vec<u8> {
    let crc = crc32c::crc32c(state.as_bytes());
    format!("{{\n  \"crc32c\": \"{crc:08x}\",\n  \"state\": {state}\n}}\n").into_bytes()
}

#[test]
fn what_is_saved_is_read_back_and_the_former_copy_is_kept() {
    let (dir, offsets) = saved();
    assert_eq!(position(read(dir.path(), "shop").unwrap()), (2, 1000));
    assert_eq!(position(read_previous(dir.path(), "shop").unwrap()), (1, 900));
    assert_eq!(offsets.current(), read(dir.path(), "shop").unwrap().as_ref());
    let text = fs::read(dir.path().join("shop.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(json["state"]["position"]["base"], "100:120:100,105", "the whole file is JSON");
    assert!(json["state"]["saved_at"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_file_cut_off_anywhere_is_refused_and_never_taken_for_missing() {
    let (dir, mut offsets) = saved();
    let bytes = fs::read(dir.path().join("shop.json")).unwrap();
    for length in 0..bytes.len() {
        put(dir.path(), "shop.json", &bytes[..length]);
        let error = offsets.load().unwrap_err();
        assert!(matches!(error, OffsetError::Corrupt { .. }), "{length}: {error}");
    }
    put(dir.path(), "shop.json", &[&bytes[..], b"\n"].concat());
    assert!(matches!(offsets.load(), Err(OffsetError::Corrupt { .. })), "nor one that got longer");
}

#[test]
fn every_single_flipped_bit_is_refused() {
    let (dir, _offsets) = saved();
    let mut bytes = fs::read(dir.path().join("shop.json")).unwrap();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let decoded = format::decode(&bytes);
        assert!(matches!(decoded, Err(format::Undecodable::Damaged(_))), "bit {bit}: {decoded:?}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(format::decode(&bytes).is_ok());
}

#[test]
fn a_damaged_file_names_itself_and_the_commands_that_decide() {
    let (dir, mut offsets) = saved();
    put(dir.path(), "shop.json", b"");
    let text = offsets.load().unwrap_err().to_string();
    for part in ["shop.json", "is empty", "`tripline offset recover`", "`tripline offset reset`"] {
        assert!(text.contains(part), "{part} in: {text}");
    }
    assert!(offsets.save(&stored(3, None, 1100)).is_ok(), "what was loaded before still counts");
}

#[test]
fn saving_over_a_damaged_file_that_was_never_loaded_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "shop.json", b"{}");
    let mut offsets = OffsetDir::lock(dir.path(), "shop").unwrap();
    assert!(matches!(offsets.save(&stored(1, None, 1)), Err(OffsetError::Corrupt { .. })));
    assert_eq!(fs::read(dir.path().join("shop.json")).unwrap(), b"{}");
}

#[test]
fn other_versions_are_refused_whatever_else_they_hold() {
    let dir = tempfile::tempdir().unwrap();
    for version in [0, FORMAT + 1] {
        put(dir.path(), "shop.json", &framed(&format!("{{\"format\": {version}, \"new\": []}}")));
        let error = read(dir.path(), "shop").unwrap_err();
        assert!(matches!(error, OffsetError::Version { found, .. } if found == version), "{error}");
        assert!(error.to_string().contains("tripline offset recover"), "{error}");
    }
    for state in ["{\"format\": 1}", "{}", "[]", "1"] {
        put(dir.path(), "shop.json", &framed(state));
        let error = read(dir.path(), "shop").unwrap_err();
        assert!(matches!(error, OffsetError::Corrupt { damage: Damage::State(_), .. }), "{error}");
    }
}

#[test]
fn the_file_of_another_pipeline_or_source_is_refused() {
    let (dir, mut offsets) = saved();
    fs::copy(dir.path().join("shop.json"), dir.path().join("crm.json")).unwrap();
    let error = read(dir.path(), "crm").unwrap_err();
    assert!(matches!(&error, OffsetError::Foreign { what: "pipeline", .. }), "{error}");
    for (what, other) in [
        ("pipeline", Stored { pipeline: "crm".into(), ..stored(3, None, 1100) }),
        ("system", Stored { source: source(1, "shop"), ..stored(3, None, 1100) }),
        ("database", Stored { source: source(7_412_345_678_901_234_567, "crm"), ..stored(3, None, 1100) }),
    ] {
        let error = offsets.save(&other).unwrap_err();
        assert!(matches!(&error, OffsetError::Foreign { what: w, .. } if *w == what), "{error}");
    }
}

#[test]
fn nothing_goes_backward() {
    let (dir, mut offsets) = saved();
    // Inside a pass, part by part, then its end, which is ahead of all its parts.
    for step in [stored(3, Some((1, 1200)), 1000), stored(3, Some((2, 1300)), 1000), stored(3, None, 1300)] {
        offsets.save(&step).unwrap();
        offsets.save(&step).expect("the same again is no step back");
    }
    let base = |base: &str| {
        let mut stored = stored(4, None, 1300);
        stored.position.base = base.parse().unwrap();
        stored
    };
    for (what, behind) in [
        ("the pass", stored(2, None, 1300)),
        ("the pass", stored(3, Some((9, 9999)), 1300)),
        ("the offset", stored(4, None, 1299)),
        ("snapshot B", base("99:120:99")),
        ("snapshot B", base("100:119:100")),
        ("the epoch", Stored { epoch: 2, ..stored(4, None, 1300) }),
        ("the offset in the cuts topic", Stored { cuts_offset: Some(40), ..stored(4, None, 1300) }),
        ("the offset in the cuts topic", Stored { cuts_offset: None, ..stored(4, None, 1300) }),
    ] {
        let error = offsets.save(&behind).unwrap_err();
        assert!(matches!(&error, OffsetError::Backward { what: w, .. } if *w == what), "{what}: {error}");
    }
    offsets.save(&stored(4, Some((2, 1500)), 1300)).unwrap();
    assert!(offsets.save(&stored(4, Some((1, 1600)), 1300)).is_err(), "a part back");
    assert!(offsets.save(&stored(4, Some((2, 1499)), 1300)).is_err(), "a cursor back");
    assert_eq!(position(read(dir.path(), "shop").unwrap()), (4, 1300), "the file is as it was");
}

#[test]
fn a_person_may_go_back_and_start_over() {
    let (dir, mut offsets) = saved();
    offsets.replace(&stored(1, None, 900)).unwrap();
    assert_eq!(position(read(dir.path(), "shop").unwrap()), (1, 900));
    assert_eq!(position(read_previous(dir.path(), "shop").unwrap()), (2, 1000));
    assert!(offsets.clear().unwrap());
    assert_eq!(read(dir.path(), "shop").unwrap(), None);
    assert_eq!(position(read_previous(dir.path(), "shop").unwrap()), (1, 900));
    assert!(!offsets.clear().unwrap(), "there is none any more");
    offsets.save(&stored(1, None, 5)).unwrap();
}

#[test]
fn what_could_not_be_read_is_kept_as_evidence() {
    let (dir, mut offsets) = saved();
    let previous = fs::read(dir.path().join("shop.json.previous")).unwrap();
    put(dir.path(), "shop.json", b"rubbish");
    offsets.replace(&stored(2, None, 1000)).unwrap();
    assert_eq!(fs::read(dir.path().join("shop.json.refused")).unwrap(), b"rubbish");
    assert_eq!(fs::read(dir.path().join("shop.json.previous")).unwrap(), previous);
    put(dir.path(), "shop.json", b"more of it");
    assert!(offsets.clear().unwrap());
    assert_eq!(fs::read(dir.path().join("shop.json.refused")).unwrap(), b"more of it");
    assert_eq!(read(dir.path(), "shop").unwrap(), None);
}

#[test]
fn leftovers_of_a_crash_are_not_read_and_are_cleared_away() {
    let (dir, offsets) = saved();
    drop(offsets);
    // Killed between the two renames: `.previous` is already the current file.
    fs::remove_file(dir.path().join("shop.json.previous")).unwrap();
    fs::hard_link(dir.path().join("shop.json"), dir.path().join("shop.json.previous")).unwrap();
    fs::hard_link(dir.path().join("shop.json"), dir.path().join("shop.json.previous.tmp")).unwrap();
    put(dir.path(), "shop.json.next.tmp", b"{\n  \"crc32c\": \"");
    put(dir.path(), "crm.json.next.tmp", b"of a pipeline that may be running");
    let mut offsets = OffsetDir::lock(dir.path(), "shop").unwrap();
    assert_eq!(position(offsets.load().unwrap()), (2, 1000));
    offsets.save(&stored(3, None, 1100)).unwrap();
    assert_eq!(position(read_previous(dir.path(), "shop").unwrap()), (2, 1000));
    let mut names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["crm.json.next.tmp", "shop.json", "shop.json.previous", "shop.lock"]);
}

#[test]
fn the_second_one_learns_who_holds_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(holder(dir.path(), "shop").unwrap(), None, "no lock file");
    let first = OffsetDir::lock(dir.path(), "shop").unwrap();
    let error = OffsetDir::lock(dir.path(), "shop").unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("by pid {} on host ", std::process::id())), "{text}");
    assert!(text.contains("shop.lock") && text.contains(" since "), "{text}");
    assert_eq!(holder(dir.path(), "shop").unwrap().unwrap().pid, std::process::id());
    OffsetDir::lock(dir.path(), "crm").expect("another pipeline may share the directory");
    drop(first);
    assert_eq!(holder(dir.path(), "shop").unwrap(), None);
    OffsetDir::lock(dir.path(), "shop").expect("the lock ends with its holder");
}

#[test]
fn who_looks_waits_for_the_name_of_a_holder_that_has_just_come() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "shop.lock", b"");
    let file = File::open(dir.path().join("shop.lock")).unwrap();
    file.lock().unwrap();
    let error = holder(dir.path(), "shop").unwrap_err();
    assert!(matches!(error, OffsetError::Held { holder: None, .. }), "{error}");
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| holder(dir.path(), "shop").unwrap());
        put(dir.path(), "shop.lock", b"{\"pid\":1,\"host\":\"here\",\"since\":\"2026-01-01T00:00:00Z\"}\n");
        assert_eq!(looks.join().unwrap().expect("a holder").pid, 1);
    });
}

#[test]
fn the_lock_ends_with_a_killed_process() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "shop.lock", b"{\"pid\":1,\"host\":\"gone\",\"since\":\"2026-01-01T00:00:00Z\"}\n");
    let mut other = Command::new("flock")
        .arg("--no-fork")
        .arg(dir.path().join("shop.lock"))
        .args(["sleep", "60"])
        .spawn()
        .expect("flock of util-linux");
    while holder(dir.path(), "shop").unwrap().is_none() {
        std::thread::yield_now();
    }
    let error = OffsetDir::lock(dir.path(), "shop").unwrap_err();
    assert!(error.to_string().contains("by pid 1 on host gone since 2026-01-01"), "{error}");
    other.kill().unwrap();
    other.wait().unwrap();
    OffsetDir::lock(dir.path(), "shop").unwrap();
}

#[test]
fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a").join("b");
    let mut offsets = OffsetDir::lock(&dir, "shop").unwrap();
    offsets.save(&stored(1, None, 1)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&dir), mode(&dir.join("shop.json")), mode(&dir.join("shop.lock"))),
        (0o700, 0o600, 0o600)
    );
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    (1..u64::MAX / 2, prop::collection::btree_set(0..1000u64, 0..8), 1000..2000u64).prop_map(
        |(xmin, xip, width)| Snapshot {
            xmin,
            xmax: xmin + width,
            running: xip.into_iter().map(|xid| xmin + xid).collect(),
        },
    )
}

fn any_stored() -> impl Strategy<Value = Stored> {
    let inside = (any_snapshot(), any::<u64>(), any::<u32>()).prop_map(|(until, cursor, part)| Inside {
        until,
        cursor,
        part,
    });
    let load = (any::<(u64, u32, u64, bool)>(), any::<Vec<String>>())
        .prop_map(|((run, version, rows, done), after)| Load { run, version, rows, after, done });
    let position =
        (any::<u64>(), any_snapshot(), any::<u64>(), prop::option::of(inside), prop::option::of(load))
            .prop_map(|(pass, base, offset, inside, load)| Position { pass, base, offset, inside, load });
    let anchors =
        any::<(u64, u64, i64)>().prop_map(|(cdc_id, txid, at_micros)| anchor(cdc_id, txid, at_micros));
    let names = any::<(String, String, String)>();
    let numbers = any::<(u64, u32, u64, Option<i64>)>();
    (position, prop::collection::vec(anchors, 0..5), names, numbers).prop_map(
        |(position, anchors, names, (system, timeline, epoch, cuts_offset))| Stored {
            format: FORMAT,
            pipeline: names.0,
            source: Identity { timeline, postmaster_start: i64::from(timeline), ..source(system, &names.1) },
            sequence: names.2,
            position,
            epoch,
            cuts_offset,
            anchors,
            saved_at: now(),
        },
    )
}

proptest! {
    #[test]
    fn every_state_reads_back_as_it_was_written(stored in any_stored()) {
        let bytes = format::encode(&stored).unwrap();
        prop_assert_eq!(format::decode(&bytes).unwrap(), stored);
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
    }

    #[test]
    fn no_other_bytes_are_taken_for_a_file(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(format::decode(&bytes).is_err());
    }
}

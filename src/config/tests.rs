use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;

const SHIPPED: &str = include_str!("../../config/tripline.toml");
const LEAST: &str =
    "pipeline = 'shop'\n[source]\nurl = 'postgresql://a:s3cret@h/d'\n[kafka]\nbootstrap_servers = 'k:9092'\n";

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load_from(Path::new("t.toml"), text, environment.iter().copied())
}

/// Loads [`LEAST`] with more behind it (still in `[kafka]`) and returns the error's text.
fn refused(more: &str, environment: &[(&str, &str)]) -> String {
    let error = load(&format!("{LEAST}{more}"), environment).expect_err(more);
    let text = error.to_string();
    assert!(!format!("{text} {error:?}").contains("s3cret"), "a secret in: {text}");
    text
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} not in: {text}");
    }
}

/// The shipped file with every `# key = value` and `# [[group]]` made active.
fn uncommented() -> String {
    let is_setting = |line: &str| {
        let key = line.split_once(" = ").map_or("", |(key, _)| key);
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '"');
        line.starts_with("[[") || (!key.is_empty() && key.chars().all(name))
    };
    let lines = SHIPPED.lines().map(|line| match line.strip_prefix("# ") {
        Some(setting) if is_setting(setting) => setting,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shipped_file_is_valid_as_it_stands() {
    let config = load(SHIPPED, &[]).unwrap();
    assert_eq!(config.pipeline, "shop");
    assert_eq!(config.source.tables, ["public.*", "!public.audit"]);
    assert!(config.source_url().is_ok() && config.destination_url().unwrap().is_some());
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let shown: Config = toml::from_str(&uncommented()).unwrap();
    let default = Config::default();
    assert_eq!(shown.capture, default.capture);
    assert_eq!(shown.tail, default.tail);
    assert_eq!(shown.offset, default.offset);
    let kept = |config: &Config| (config.retention.enabled, config.retention.keep_hours);
    assert_eq!(kept(&shown), kept(&default));
    assert_eq!(shown.apply, default.apply);
    assert_eq!(shown.mirror, default.mirror);
    assert_eq!(shown.log, default.log);
    assert_eq!(shown.kafka.options["security.protocol"], "SASL_SSL", "examples are examples");
    let kafka = Kafka { bootstrap_servers: String::new(), options: BTreeMap::new(), ..shown.kafka };
    assert_eq!(kafka, default.kafka);
    assert_eq!(shown.clickhouse.unwrap().user, ClickHouse::default().user);
    assert_eq!(shown.table[0].mode, Some(CaptureMode::Statement));
}

/// Returns the keys that a group allows: serde names them all when it meets one that it does not know.
fn keys_of(group: &str) -> Vec<String> {
    let text = match group {
        "" => "no_such_key = 1".to_owned(),
        "table" => "[[table]]\nname = 'a.b'\nno_such_key = 1".to_owned(),
        "rename" => "[[rename]]\nno_such_key = 1".to_owned(),
        _ => format!("[{group}]\nno_such_key = 1"),
    };
    let error = toml::from_str::<Config>(&text).unwrap_err();
    let (_, allowed) = error.message().split_once("expected ").expect("unknown field …, expected …");
    allowed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_key_is_in_the_shipped_file() {
    let shown: toml::Table = toml::from_str(&uncommented()).unwrap();
    for group in keys_of("") {
        let value = shown.get(&group).unwrap_or_else(|| panic!("[{group}] is not in config/tripline.toml"));
        let entry = value.as_table().or_else(|| value.as_array()?.first()?.as_table());
        let Some(entry) = entry else { continue };
        for key in keys_of(&group) {
            assert!(entry.contains_key(&key), "{group}.{key} is not in config/tripline.toml");
        }
    }
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_what_is_allowed() {
    let text = refused("[tail]\nwindw_rows = 1\n", &[]);
    has(&text, &["t.toml", "line 7", "`windw_rows`", "`window_rows`", "`lock_timeout_ms`"]);
    has(&refused("[tial]\n", &[]), &["line 6", "`tial`", "`tail`"]);
    has(&refused("[log]\nformat = 'xml'\n", &[]), &["line 7", "`xml`", "`json`"]);
    has(&refused("[[table]]\nmode = 'row'\n", &[]), &["line 6", "`name`"]);
}

#[test]
fn a_wrong_type_is_named_with_its_line_but_not_its_value() {
    let text = refused("[tail]\n\nwindow_rows = 's3cret, expected nothing'\n", &[]);
    has(&text, &["line 8", "invalid type: string, expected u32"]);
    has(&refused("[tail]\nwindow_rows = -1\n", &[]), &["line 7", "expected u32"]);
    has(&refused("[destination]\nurl = { s3cret = 1 }\n", &[]), &["line 7", "expected a string"]);
    has(&refused("destination = 's3cret'\n", &[]), &["line 6"]);
    has(&refused("[kafka.options]\na = ['s3cret']\n", &[]), &["expected a string, a number or a boolean"]);
}

#[test]
fn broken_toml_is_named_with_its_line_but_not_its_text() {
    for broken in ["[destination]\nurl = 's3cret\n", "[destination]\nurl = s3cret\n", "x\ns3cret\n"] {
        has(&refused(broken, &[]), &["t.toml", "line "]);
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Some(Path::new("/nonexistent/tripline.toml"))).unwrap_err();
    has(&error.to_string(), &["cannot read /nonexistent/tripline.toml"]);
    let text = "pipeline = 'shop'\n[source]\nurl_file = '/nonexistent/url'\n";
    has(&load(text, &[]).unwrap_err().to_string(), &["cannot read /nonexistent/url"]);
}

#[test]
fn the_environment_overrides_every_kind_of_key() {
    let config = load(
        LEAST,
        &[
            ("TRIPLINE__SOURCE__URL", "postgresql://other"),
            ("TRIPLINE__SOURCE__TABLES", "a.*, b.c,"),
            ("TRIPLINE__TAIL__WINDOW_ROWS", "7"),
            ("TRIPLINE__TAIL__REQUIRE_FLUSHED", "false"),
            ("TRIPLINE__CAPTURE__MODE", "statement"),
            ("TRIPLINE__OFFSET__DIR", "/var/lib/tripline"),
            ("TRIPLINE__CLICKHOUSE__URL", "http://c:8123"),
            ("TRIPLINE__CLICKHOUSE__PASSWORD", "007"),
            ("TRIPLINE_CONFIG", "not ours to read here"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(config.source_url().unwrap(), "postgresql://other");
    assert_eq!(config.source.tables, ["a.*", "b.c"]);
    assert_eq!((config.tail.window_rows, config.tail.require_flushed), (7, false));
    assert_eq!(config.capture.mode, CaptureMode::Statement);
    assert_eq!(config.offset.dir, Path::new("/var/lib/tripline"));
    assert_eq!(config.kafka.bootstrap_servers, "k:9092", "the rest stays");
    let password = config.clickhouse.unwrap().password.unwrap();
    assert_eq!(password.expose_secret(), "007", "digits are no number unless the key wants one");
}

#[test]
fn an_override_that_does_not_fit_is_named_but_its_value_is_not() {
    let text = refused("", &[("TRIPLINE__LOG__LEVEL", "debug"), ("TRIPLINE__TAIL__WINDW_ROWS", "s3cret")]);
    has(&text, &["TRIPLINE__TAIL__WINDW_ROWS", "`windw_rows`", "`window_rows`"]);
    has(&refused("", &[("TRIPLINE__NOPE", "s3cret")]), &["TRIPLINE__NOPE", "`nope`", "`pipeline`"]);
    has(
        &refused("", &[("TRIPLINE__TAIL__WINDOW_ROWS", "s3cret")]),
        &["TRIPLINE__TAIL__WINDOW_ROWS", "integer"],
    );
    has(&refused("", &[("TRIPLINE__SOURCE", "s3cret")]), &["TRIPLINE__SOURCE"]);
    has(&refused("", &[("TRIPLINE__SOURCE__URL__X", "s3cret")]), &["TRIPLINE__SOURCE__URL__X"]);
    has(&refused("", &[("TRIPLINE__", "s3cret")]), &["TRIPLINE__"]);
}

#[test]
fn kafka_options_keep_their_dots_and_their_text() {
    let options = "[kafka.options]\n'security.protocol' = 'SASL_SSL'\nsasl.mechanism = 'PLAIN'\n\
                   'linger.ms' = 5\n'enable.ssl.certificate.verification' = false\n";
    let environment = [
        ("TRIPLINE__KAFKA__OPTIONS__SASL_MECHANISM", "SCRAM-SHA-512"),
        ("TRIPLINE__KAFKA__OPTIONS__sasl.password", "0012"),
        ("TRIPLINE__KAFKA__PARTITIONS", "9"),
    ];
    let config = load(&format!("{LEAST}{options}"), &environment).unwrap();
    let found: Vec<_> = config.kafka.options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let expected = [
        ("enable.ssl.certificate.verification", "false"),
        ("linger.ms", "5"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.password", "0012"),
        ("security.protocol", "SASL_SSL"),
    ];
    assert_eq!((found.as_slice(), config.kafka.partitions), (expected.as_slice(), 9));
}

#[test]
fn secrets_come_from_files_too_and_never_from_two_places() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "from-file\r\n").unwrap();
    let text = format!(
        "pipeline = 'shop'\nmask.salt_file = '{}'\nkafka.bootstrap_servers = 'k:1'\n",
        file.display()
    );
    has(&load(&text, &[]).unwrap_err().to_string(), &["chmod 0640", "secret", "0644"]);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o440)).unwrap();
    let text = text.replace(file.to_str().unwrap(), "secret");
    let credentials = [("CREDENTIALS_DIRECTORY", dir.path().to_str().unwrap())];
    assert_eq!(load(&text, &credentials).unwrap().mask.salt.unwrap().expose_secret(), "from-file");
    let file = file.to_str().unwrap();
    let config = load(
        LEAST,
        &[
            ("TRIPLINE__SOURCE__URL_FILE", file),
            ("TRIPLINE__DESTINATION__URL_FILE", file),
            ("TRIPLINE__CLICKHOUSE__URL", "http://c:8123"),
            ("TRIPLINE__CLICKHOUSE__PASSWORD_FILE", file),
            ("TRIPLINE__KAFKA__OPTIONS__SASL_PASSWORD_FILE", file),
        ],
    )
    .unwrap();
    assert_eq!(config.source_url().unwrap(), "from-file", "it takes the place of the file's own url");
    assert_eq!(config.destination_url().unwrap(), Some("from-file"));
    assert_eq!(config.clickhouse.unwrap().password.unwrap().expose_secret(), "from-file");
    assert_eq!(config.kafka.options["sasl.password"], "from-file");
    assert_eq!(config.kafka.options.len(), 1);

    let text = format!("pipeline = 'shop'\nsource.url_file = '{file}'\nkafka.bootstrap_servers = 'k:1'\n");
    assert_eq!(load(&text, &[]).unwrap().source_url().unwrap(), "from-file");
    let url = [("TRIPLINE__SOURCE__URL", "from-environment")];
    assert_eq!(load(&text, &url).unwrap().source_url().unwrap(), "from-environment");
    has(
        &refused(&format!("[destination]\nurl = 's3cret'\nurl_file = '{file}'\n"), &[]),
        &["destination.url", "not both"],
    );
    let options = format!("[kafka.options]\n'sasl.password' = 's3cret'\n'sasl.password_file' = '{file}'\n");
    has(&refused(&options, &[]), &["kafka.options", "not both"]);
}

#[test]
fn secrets_do_not_show() {
    let secrets = "[kafka.options]\n'sasl.password' = 's3cret'\n[destination]\nurl = 's3cret'\n\
                   [clickhouse]\nurl = 'http://c'\npassword = 's3cret'\n";
    let config = load(&format!("{LEAST}{secrets}"), &[]).unwrap();
    let shown = format!("{config:?} {config:#?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    has(&shown, &["sasl.password", "k:9092"]);
}

#[test]
fn what_makes_no_sense_is_refused_by_key() {
    for (more, key) in [
        ("topic_prefix = 'a b'", "kafka.topic_prefix"),
        ("partitions = 0", "kafka.partitions"),
        ("replication_factor = 0", "kafka.replication_factor"),
        ("cleanup_policy = 'keep'", "kafka.cleanup_policy"),
        ("[capture]\nmode = 'row'", "capture.mode"),
        ("[capture]\nschema = 'pg_cdc'", "capture.schema"),
        ("[tail]\nwindow_rows = 0", "tail.window_rows"),
        ("[tail]\nbusy_interval_ms = 101", "tail.busy_interval_ms"),
        ("[apply]\nbatch_bytes = 0", "apply.batch_bytes"),
        ("[mirror]\nbatch_rows = 0", "mirror.batch_rows"),
        ("[clickhouse]", "clickhouse.url"),
        ("[clickhouse]\nurl = 'http://u:s3cret@c'", "clickhouse.url"),
        ("[[table]]\nname = 'orders'", "table.name"),
        ("[[table]]\nname = 'a.*'", "table.name"),
        ("[[table]]\nname = 'a.b'\n[[table]]\nname = 'a.b'", "table.name"),
        ("[[table]]\nname = 'a.b'\nappend_only = true\nkey_index = 'i'", "table.name"),
        ("[[table]]\nname = 'a.b'\nappend_only = true\nmode = 'reread'", "table.name"),
    ] {
        has(&refused(more, &[]), &[key]);
    }
    has(&refused("", &[("TRIPLINE__PIPELINE", "../x")]), &["pipeline"]);
    has(&refused("", &[("TRIPLINE__KAFKA__BOOTSTRAP_SERVERS", "")]), &["kafka.bootstrap_servers"]);
    let config = load(LEAST, &[("TRIPLINE__SOURCE__URL", "")]).unwrap();
    has(&config.source_url().unwrap_err().to_string(), &["source.url"]);
}

#[test]
fn a_log_that_stops_needs_a_size_at_which() {
    let table = |keys: &str| format!("[[table]]\nname = 'public.t'\n{keys}");
    has(&refused(&table("on_full = 'stop'\n"), &[]), &["public.t", "max_log_bytes"]);
    has(&refused(&table("on_full = 'stop'\nmax_log_bytes = 1000\n"), &[]), &["public.t", "1048576"]);
    has(&refused("[retention]\nmax_log_bytes = 1\n", &[]), &["retention.max_log_bytes", "1048576"]);
    has(&refused("[retention]\nkeep_hours = 1000000\n", &[]), &["retention.keep_hours"]);
    let text = format!("{LEAST}{}", table("on_full = 'stop'\nmax_log_bytes = 2000000\n"));
    assert_eq!(load(&text, &[]).unwrap().table[0].stops_at_bytes(), Some(2_000_000));
    let text = format!("{LEAST}{}", table("max_log_bytes = 2000000\n"));
    assert_eq!(load(&text, &[]).unwrap().table[0].stops_at_bytes(), None, "it only alerts");
}

#[test]
fn log_rows_are_removed_by_the_sources_role_unless_another_is_named() {
    let config = load(LEAST, &[]).unwrap();
    assert_eq!(config.retention_url().unwrap(), "postgresql://a:s3cret@h/d");
    let config = load(LEAST, &[("TRIPLINE__RETENTION__URL", "postgresql://c@h/d")]).unwrap();
    assert_eq!(config.retention_url().unwrap(), "postgresql://c@h/d");
}

//! A pipeline whose every connection is encrypted and authenticated on both sides, with secrets from files alone, which
//! nobody finds in what it writes.

use std::net::TcpListener;
use std::path::Path;

use tempfile::TempDir;

use super::certificates::{Authority, Identity, write};
use super::man_in_the_middle::ManInTheMiddle;
use crate::db::{Which, run, value};
use crate::faults::service::Service;
use crate::pipeline::harness::{MARKER, Pipeline, Servers};
use crate::server::Server;

const SCHEMA: &str = "create table people (id bigint primary key, name text, body text)";
/// As [`MARKER`], which the pipeline looks for in all logs.
const SCRAM: &str = "SCRAM-SHA-512=[name=tripline,password=s3cr3t-r0w-v4lue-kafka]";
const ADMISSION: &[u8] = b"host all postgres 127.0.0.1/32 trust\n\
    hostssl all tripline 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n";

/// Starts a server that takes role `tripline` with password and certificate, over TLS only.
async fn postgres(authority: &Authority) -> Server {
    let server = Server::start(Which::Source, "");
    let identity = authority.server("localhost");
    server.put("server.crt", &identity.certificate);
    server.put("server.key", &identity.key);
    server.put("ca.crt", &authority.pem());
    server.put("pg_hba.conf", ADMISSION);
    server.restart("ssl = on\nssl_ca_file = 'ca.crt'\npassword_encryption = 'scram-sha-256'");
    let role = format!("create role tripline superuser login password '{MARKER}-postgres'");
    run(&server.connect("postgres").await, &role).await;
    server
}

/// Starts a broker that takes user `tripline` with password and certificate at a second port, and shows an expired
/// certificate at a third.
fn kafka(authority: &Authority, dir: &Path) -> (Service, u16, u16) {
    // Both are held while they are chosen, so that they differ.
    let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [secure, expired] = ports.map(|port| port.local_addr().unwrap().port());
    let store = |name, Identity { certificate, key }: Identity| {
        write(dir, name, &[key, certificate].concat()).display().to_string()
    };
    let valid = store("broker.pem", authority.server("localhost"));
    let over = store("expired.pem", authority.expired("localhost"));
    let trusted = authority.write(dir, "broker-ca.pem");
    let usual = "PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}";
    let login = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let settings = [
        format!("listeners={usual},SECURE://127.0.0.1:{secure},EXPIRED://127.0.0.1:{expired}"),
        format!("advertised.listeners={usual},SECURE://localhost:{secure},EXPIRED://localhost:{expired}"),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL,EXPIRED:SSL"
            .into(),
        "ssl.keystore.type=PEM".into(),
        format!("listener.name.secure.ssl.keystore.location={valid}"),
        format!("listener.name.expired.ssl.keystore.location={over}"),
        "listener.name.secure.ssl.truststore.type=PEM".into(),
        format!("listener.name.secure.ssl.truststore.location={}", trusted.display()),
        "listener.name.secure.ssl.client.auth=required".into(),
        "listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-512".into(),
        format!("listener.name.secure.scram-sha-512.sasl.jaas.config={login}"),
    ];
    (Service::kafka_with(SCRAM, &settings), secure, expired)
}

/// Takes what a command says; it must not hold a secret.
async fn said(pipeline: &Pipeline, line: &str) -> (Option<i32>, String) {
    let ended = pipeline.command(line).await;
    assert!(!ended.text.contains(MARKER), "tripline {line} says a secret:\n{}", ended.text);
    (ended.code, ended.text)
}

async fn finds(pipeline: &Pipeline, parts: &[&str]) {
    let (code, text) = said(pipeline, "check").await;
    assert_eq!(code, Some(2), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_encrypted_and_no_secret_is_written_anywhere() {
    let (authority, dir) = (Authority::new(), TempDir::new().unwrap());
    let path = dir.path();
    let ca = authority.write(path, "ca.pem").display().to_string();
    let server = postgres(&authority).await;
    let (broker, secure, expired) = kafka(&authority, path);
    let user = format!("tripline:{MARKER}-clickhouse");
    let clickhouse = Service::clickhouse_with(&[&user, "default:"]);
    let front = ManInTheMiddle::before_http(&clickhouse.address(), &authority.server("localhost"));

    let servers = Servers {
        source: server.url("postgres"),
        destination: server.url("postgres"),
        kafka: Some(broker.address()),
        clickhouse: Some(format!("http://{}", clickhouse.address())),
    };
    // Windows are cut short, which is a second connection that cancels the statement of the first.
    let settings = [("tail.window_bytes", "65536"), ("log.level", "trace")];
    let mut pipeline = Pipeline::create_at(servers, &settings, SCHEMA).await;
    pipeline.configure("[[table]]\nname = \"public.people\"\nmask = { name = \"hash\" }\n");

    let identity = authority.client("tripline");
    write(path, "client.crt", &identity.certificate);
    write(path, "client.key", &identity.key);
    // The destination trusts the system's authorities, among which OpenSSL counts those of a variable.
    pipeline.environment("SSL_CERT_FILE", &ca);
    let roots = format!("&sslrootcert={ca}");
    for (name, database, roots) in
        [("source", &pipeline.source.name, roots.as_str()), ("destination", &pipeline.destination.name, "")]
    {
        let url = format!(
            "postgresql://tripline:{MARKER}-postgres@localhost:{}/{database}?sslmode=verify-full{roots}\
             &sslcert={}/client.crt&sslkey=client.key&channel_binding=require\n",
            server.port(),
            path.display(),
        );
        write(path, name, url.as_bytes());
    }
    for (name, secret) in
        [("kafka", "kafka"), ("clickhouse", "clickhouse"), ("salt", "salt"), ("wrong", "wrong")]
    {
        write(path, name, format!("{MARKER}-{secret}\n").as_bytes());
    }
    pipeline.environment("CREDENTIALS_DIRECTORY", path.to_str().unwrap());
    for (key, value) in [
        ("source.url_file", "source"),
        ("destination.url_file", "destination"),
        ("mask.salt_file", "salt"),
        ("clickhouse.url", &format!("https://localhost:{}", front.port)),
        ("clickhouse.ca_file", &ca),
        ("clickhouse.user", "tripline"),
        ("clickhouse.password_file", "clickhouse"),
        ("kafka.bootstrap_servers", &format!("localhost:{secure}")),
        ("kafka.options.security_protocol", "SASL_SSL"),
        ("kafka.options.sasl_mechanism", "SCRAM-SHA-512"),
        ("kafka.options.sasl_username", "tripline"),
        ("kafka.options.sasl_password_file", "kafka"),
        ("kafka.options.ssl_ca_location", &ca),
    ] {
        pipeline.set(key, value);
    }

    finds(&pipeline, &["Kafka: localhost", "asks for one"]).await;
    pipeline.set("kafka.options.ssl_certificate_location", &format!("{}/client.crt", path.display()));
    pipeline.set("kafka.options.ssl_key_pem_file", "client.key");
    let (code, text) = said(&pipeline, "init").await;
    assert_eq!(code, Some(0), "{text}");
    let daemon = pipeline.start_ready("run").await;
    let rows =
        "insert into people select i, 'n' || i, repeat(md5(i::text), 10) from generate_series(1, 2000) i";
    run(&pipeline.from, rows).await;
    run(&pipeline.from, "delete from people where id % 2 = 0; update people set body = 'b' where id = 1")
        .await;
    pipeline.caught_up().await;
    assert_eq!(
        value(&pipeline.to, "select count(*) || max(body) from people where id < 2 or id > 10").await.len(),
        323
    );
    assert_eq!(pipeline.mirror.read("SELECT count() FROM people_current").await, ["1000"]);
    let plain = "select count(*) from pg_stat_activity a join pg_stat_ssl s using (pid) where usename = 'tripline' and not ssl";
    assert_eq!(value(&pipeline.from, plain).await, "0");
    for line in ["status --json", "verify", "offset show"] {
        said(&pipeline, line).await;
    }
    pipeline.stop(daemon).await;

    let right = [
        ("kafka.bootstrap_servers", format!("localhost:{secure}")),
        ("kafka.options.ssl_ca_location", ca.clone()),
        ("kafka.options.sasl_password_file", "kafka".into()),
    ];
    let other = Authority::new().write(path, "other.pem").display().to_string();
    for (key, wrong, parts) in [
        ("kafka.bootstrap_servers", format!("127.0.0.1:{secure}"), ["for other names", "Kafka: 127.0.0.1"]),
        ("kafka.bootstrap_servers", format!("localhost:{expired}"), ["has expired", "renewed"]),
        (
            "kafka.bootstrap_servers",
            broker.address(),
            ["no broker answers", "connecting to a PLAINTEXT broker listener?"],
        ),
        ("kafka.options.ssl_ca_location", other, ["nobody trusted", "ssl.ca.location in [kafka.options]"]),
        ("kafka.options.sasl_password_file", "wrong".into(), ["SASL", "check sasl.username, sasl.password"]),
    ] {
        pipeline.set(key, &wrong);
        finds(&pipeline, &parts).await;
        if key.ends_with("password_file") || parts[0] == "has expired" {
            pipeline.expect("librdkafka");
            pipeline.ends_with(pipeline.start("apply"), 76, &parts).await;
        }
        let (_, value) = right.iter().find(|(name, _)| *name == key).unwrap();
        pipeline.set(key, value);
    }
    pipeline.set("clickhouse.password_file", "wrong");
    finds(&pipeline, &["clickhouse.password"]).await;
    pipeline.set("kafka.options.sasl_passwort", &format!("{MARKER}-misplaced"));
    finds(&pipeline, &["sasl.passwort", "No such configuration property"]).await;
    assert!(pipeline.logged().len() > 10_000, "there was something to look through");
}

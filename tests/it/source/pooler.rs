//! A transaction pooler in front of the source.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::db::run;
use crate::pipeline::harness::Pipeline;
use crate::server::is_root;

const ONE: &str = "create table orders (id bigint primary key, body text)";

/// pgbouncer in transaction mode; killed when dropped.
struct Pooler {
    child: Child,
    port: u16,
    _dir: TempDir,
}

impl Pooler {
    /// Starts it in front of the server of `url`.
    fn start(url: &str) -> Self {
        let (server, _) = url.rsplit_once('/').unwrap();
        let (host, port) = server.rsplit_once('@').unwrap().1.rsplit_once(':').unwrap();
        let dir = TempDir::new().unwrap();
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ini = dir.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={host} port={port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {listen}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = transaction\nignore_startup_parameters = extra_float_digits\n"
        );
        // Any user is let in as the one of the server's own.
        let text = text.replace(&format!("port={port}"), &format!("port={port} user=postgres"));
        std::fs::write(&ini, text).unwrap();
        let mut command = Command::new("/usr/sbin/pgbouncer");
        command.arg("-q").arg(&ini);
        if is_root() {
            command.args(["-u", "postgres"]);
            let owned = Command::new("chown").arg("-R").arg("postgres").arg(dir.path()).status();
            assert!(owned.unwrap().success());
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("pgbouncer is installed: scripts/test.sh does that");
        Self { child, port: listen, _dir: dir }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_pooler_is_recognised() {
    let mut pipeline = Pipeline::create(&[], ONE).await;
    pipeline.init().await;
    let pooler = Pooler::start(&pipeline.source.url());
    let url = format!("postgresql://postgres@127.0.0.1:{}/{}", pooler.port, pipeline.source.name);
    let answers = async || tokio_postgres::connect(&url, tokio_postgres::NoTls).await.is_ok();
    pipeline.wait_until("the pooler answers", answers).await;
    pipeline.set("source.url", &url);
    pipeline.expect("leads through a transaction pooler");
    let daemon = pipeline.start_ready("run").await;
    for n in 1..=20 {
        run(&pipeline.from, &format!("insert into orders values ({n}, 'x')")).await;
    }
    assert_eq!(pipeline.compare().await, 20);
    assert_eq!(daemon.times_logged("leads through a transaction pooler"), 1);
    pipeline.stop(daemon).await;
    let locks = "select count(*) from pg_locks where locktype = 'advisory' and database =
                 (select oid from pg_database where datname = current_database())";
    assert_eq!(crate::db::value(&pipeline.from, locks).await, "0", "no lock is left in the pool");
    pipeline.set("kafka.delivery", "at_least_once");
    pipeline.refuses("publish", &["leads through a transaction pooler", "delivery = \"exactly_once\""]).await;
}

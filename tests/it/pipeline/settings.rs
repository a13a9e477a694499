//! What is wrong with a configuration is said at once, and where.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::harness::Pipeline;

const ONE: &str = "create table orders (id bigint primary key, body text)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_cannot_be_read_names_key_and_line() {
    let pipeline = Pipeline::create(&[], ONE).await;
    let good = std::fs::read_to_string(pipeline.config()).unwrap();
    let file = pipeline.config().display().to_string();
    let lines = good.lines().count();
    let wrong = [
        (
            "[tail]\nwindow_rowz = 1\n",
            vec![format!("line {}", lines + 2), "window_rowz".into(), "window_rows".into()],
        ),
        (
            "[tail]\nwindow_rows = \"many\"\n",
            vec![format!("line {}", lines + 2), "invalid type".into(), "u32".into()],
        ),
        ("[kafka]\n", vec![format!("line {}", lines + 1), "duplicate key".into()]),
    ];
    for (text, says) in &wrong {
        std::fs::write(pipeline.config(), format!("{good}{text}")).unwrap();
        for command in ["init", "check", "run", "status"] {
            let ended = pipeline.command(command).await;
            assert_eq!(ended.code, Some(78), "{text}\n{}", ended.text);
            for says in says.iter().chain([&file]) {
                assert!(ended.text.contains(says), "{text}: {says:?} is not in\n{}", ended.text);
            }
        }
    }
    std::fs::remove_file(pipeline.config()).unwrap();
    let ended = pipeline.command("run").await;
    assert!(ended.code == Some(78) && ended.text.contains(&format!("cannot read {file}")), "{}", ended.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_not_there_is_named_at_once() {
    let mut pipeline = Pipeline::create(&[], ONE).await;
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let services = [
        (
            "source.url",
            format!("postgresql://postgres@{nobody}/shop"),
            pipeline.source.url(),
            "source PostgreSQL",
        ),
        (
            "destination.url",
            format!("postgresql://postgres@{nobody}/shop"),
            pipeline.destination.url(),
            "destination PostgreSQL",
        ),
        ("clickhouse.url", format!("http://{nobody}"), pipeline.mirror.url.clone(), "clickhouse"),
        ("kafka.bootstrap_servers", nobody.clone(), pipeline.topics.servers.clone(), "Kafka"),
    ];
    for (key, wrong, right, says) in services {
        pipeline.set(key, &wrong);
        for command in ["init", "check"] {
            let start = Instant::now();
            let ended = pipeline.command(command).await;
            let took = start.elapsed();
            assert_eq!(ended.code, Some(2), "{command} with {key} wrong\n{}", ended.text);
            let names = ended.text.contains(says) && ended.text.contains(&nobody);
            assert!(names, "{command}: {says} at {nobody} is not in\n{}", ended.text);
            assert!(took < Duration::from_secs(10), "{command} with {key} wrong took {took:?}");
        }
        pipeline.set(key, &right);
    }
    pipeline.init().await;
    pipeline.fine("check").await;
}

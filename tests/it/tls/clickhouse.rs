//! ClickHouse over HTTPS: whose certificate is accepted, and what is said of the others.

use secrecy::SecretString;
use tempfile::TempDir;
use tripline::config::ClickHouse;
use tripline::error::{Disposition, Error, chain};
use tripline::mirror::reset;
use tripline::table::TableName;

use super::certificates::{Authority, Identity};
use super::man_in_the_middle::ManInTheMiddle;
use crate::pipeline::stores::Mirror;

const PASSWORD: &str = "pl4nted-p4ssword";

/// Runs statements that change nothing; an error is one that no waiting helps against.
async fn use_it(config: &ClickHouse) -> Result<(), String> {
    let nowhere = TableName::new("public", "no_such_table_of_a_test_of_tls");
    let done = reset(config, &[nowhere]).await;
    done.map_err(|error| {
        let error = Error::Target(error);
        let text = chain(&error);
        assert_eq!(error.disposition(), Disposition::Halt, "{text}");
        assert!(!format!("{text} {error:?} {config:?}").contains(PASSWORD), "{text}");
        text
    })
}

fn says(result: Result<(), String>, parts: &[&str]) {
    let text = result.expect_err("it should not be trusted");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_needs_a_certificate_of_the_authority_for_the_host_that_is_valid() {
    let (authority, dir) = (Authority::new(), TempDir::new().unwrap());
    let ca = authority.write(dir.path(), "ca");
    let service = Mirror::new("").url.replace("http://", "");
    let config = |url: String| ClickHouse { url, ca_file: Some(ca.clone()), ..ClickHouse::default() };
    let start = |identity: &Identity| ManInTheMiddle::before_http(&service, identity);

    let good = start(&authority.server("localhost"));
    let url = format!("https://localhost:{}", good.port);
    assert_eq!(use_it(&config(url.clone())).await, Ok(()));

    let ip = format!("https://127.0.0.1:{}", good.port);
    says(use_it(&config(ip)).await, &["https://127.0.0.1:", "for other names"]);
    let system = ClickHouse { ca_file: None, ..config(url.clone()) };
    says(use_it(&system).await, &["nobody trusted", "clickhouse.ca_file"]);
    let other = Authority::new().write(dir.path(), "other");
    says(use_it(&ClickHouse { ca_file: Some(other), ..config(url.clone()) }).await, &["nobody trusted"]);
    let none = dir.path().join("none");
    says(
        use_it(&ClickHouse { ca_file: Some(none), ..config(url.clone()) }).await,
        &["clickhouse.ca_file", "none cannot be read"],
    );
    let expired = start(&authority.expired("localhost"));
    says(use_it(&config(format!("https://localhost:{}", expired.port))).await, &["has expired"]);
    says(use_it(&config(format!("https://{service}"))).await, &["nobody speaks TLS there", "8443"]);

    let password = Some(SecretString::from(PASSWORD));
    says(use_it(&ClickHouse { password, ..config(url) }).await, &["clickhouse.password"]);
}

//! The first question to a cluster. Who does not trust whom librdkafka only writes into its log: here it is listened to.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;

use super::PublishError;
use super::kafka::client_config;
use super::topics::failed;
use crate::config::Kafka;
use crate::tls::{self, Refusal};

/// Longest wait for the answer: a person is waiting.
const REACH: Duration = Duration::from_secs(5);
/// Longest wait for the next line of librdkafka's log, and most lines and errors that are listened to.
const LISTEN: (Duration, usize) = (Duration::from_millis(20), 20);

/// Keeps what librdkafka says about connections that failed.
#[derive(Debug, Clone, Default)]
struct Witness(Arc<Mutex<Vec<String>>>);

impl ClientContext for Witness {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, message);
        if facility == "FAIL" {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
        }
    }
}

impl ConsumerContext for Witness {}

/// Returns what the cluster has. Blocking.
pub(super) fn reach(kafka: &Kafka) -> Result<Metadata, PublishError> {
    let witness = Witness::default();
    let client: BaseConsumer<Witness> =
        client_config(kafka).create_with_context(witness.clone()).map_err(failed("creating the client"))?;
    match client.fetch_metadata(None, REACH) {
        Ok(metadata) => Ok(metadata),
        Err(source) => {
            for _ in 0..LISTEN.1 {
                if client.poll(LISTEN.0).is_none() {
                    break;
                }
            }
            let said = std::mem::take(&mut *witness.0.lock().unwrap_or_else(PoisonError::into_inner));
            Err(explain(kafka, &said, source))
        }
    }
}

/// Tells whether brokers and we do not trust each other, which no waiting helps against. Blocking.
pub fn distrust(kafka: &Kafka) -> Option<PublishError> {
    reach(kafka).err().filter(|error| matches!(error, PublishError::Distrust { .. }))
}

/// Says what librdkafka's lines mean.
fn explain(kafka: &Kafka, said: &[String], source: KafkaError) -> PublishError {
    // `[thrd:…]: sasl_ssl://host:port/id: why (after 3ms in state …)`
    let said: Vec<&str> =
        said.iter().map(|line| line.split_once("]: ").map_or(line.as_str(), |(_, said)| said)).collect();
    if let Some(distrust) = said.iter().find_map(|line| find_distrust(kafka, line)) {
        return distrust;
    }
    let last = said.last().map(|line| format!(", {line}")).unwrap_or_default();
    PublishError::Unreachable { servers: format!("{}{last}", kafka.bootstrap_servers), source }
}

fn find_distrust(kafka: &Kafka, said: &str) -> Option<PublishError> {
    let broker = said.split_once("://").and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default();
    let why = if said.contains("certificate verify failed") {
        look_at_certificate(kafka, broker).unwrap_or_else(|| said.to_owned())
    } else if said.contains("SASL authentication error") && !said.contains(": Local: ") {
        // Else it is the connection that did not last.
        format!("{said}; check sasl.username, sasl.password and sasl.mechanism in [kafka.options]")
    } else if said.contains(" alert ") && (said.contains("certificate") || said.contains("unknown ca")) {
        format!(
            "the broker does not accept the certificate of ssl.certificate.location in [kafka.options], or asks for \
             one: {said}"
        )
    } else {
        return None;
    };
    Some(PublishError::Distrust { broker: broker.to_owned(), why })
}

/// Asks a broker for its certificate, because librdkafka does not say what is wrong with it.
fn look_at_certificate(kafka: &Kafka, broker: &str) -> Option<String> {
    const KEY: &str = "ssl.ca.location";
    let refusal = Refusal::default();
    let roots = kafka.options.get(KEY).map(Path::new);
    let connector = tls::builder(KEY, roots, &refusal).ok()?.build();
    let address = broker.to_socket_addrs().ok()?.next()?;
    let stream = TcpStream::connect_timeout(&address, REACH).ok()?;
    stream.set_read_timeout(Some(REACH)).ok()?;
    let host = broker.rsplit_once(':')?.0;
    connector.connect(host, stream).err()?;
    refusal.take("ssl.ca.location in [kafka.options]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::chain;

    /// Returns what is said of an option that librdkafka does not take.
    fn refused(option: &str, value: &str) -> String {
        let options = [(option.to_owned(), value.to_owned())].into();
        let kafka = Kafka { bootstrap_servers: "127.0.0.1:1".into(), options, ..Kafka::default() };
        let error = reach(&kafka).err().unwrap();
        assert!(!format!("{error:?}").contains(value), "{error:?}");
        chain(&error)
    }

    #[test]
    fn librdkafkas_complaints_name_the_property_without_its_value() {
        let text = refused("sasl.passwort", "s3cret");
        assert!(text.contains("No such configuration property") && text.contains("sasl.passwort"), "{text}");
        let text = refused("security.protocol", "s3cret");
        assert!(text.contains("security.protocol") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn lines_about_trust_are_told_from_others() {
        let explained = |lines: &[&str]| {
            let kafka = Kafka { bootstrap_servers: "k:1".into(), ..Kafka::default() };
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            explain(&kafka, &lines, KafkaError::Canceled)
        };
        let refused = "[thrd:x]: ssl://k:1/bootstrap: Connect to ipv6#[::1]:1 failed: Connection refused";
        let login = "[thrd:x]: sasl_ssl://k:1/1: SASL authentication error: Authentication failed";
        let PublishError::Distrust { broker, why } = explained(&[login, refused]) else { panic!("not seen") };
        assert!(broker == "k:1" && why.contains("sasl.password"), "{broker}: {why}");
        let text = explained(&[refused]).to_string();
        assert!(text.contains("no broker answers at k:1, ssl://k:1/bootstrap: Connect to"), "{text}");
        let lost = "[thrd:x]: k:1/1: SASL authentication error: SaslAuthenticateRequest failed: Local: Broker transport failure";
        assert!(matches!(explained(&[lost]), PublishError::Unreachable { .. }), "brokers come back");
        assert!(matches!(explained(&[]), PublishError::Unreachable { .. }));
    }
}

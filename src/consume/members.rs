//! Membership in a consumer group: which partitions this process applies, and word when that changes.
//!
//! The group only deals out partitions. Reading is [`super::parts`]' own affair, and what is applied is judged by the
//! positions in the target, so a member that has not yet heard of a change does no harm.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::{ClientContext, TopicPartitionList};
use tokio::sync::watch;

use super::ConsumeError;
use super::kafka::{consumer_config, failed};
use crate::config::Config;
use crate::wire::{cuts_topic, schemas_topic};

/// Partitions of data topics that one process applies.
pub type Share = BTreeSet<(String, i32)>;

/// How long one look at the group takes.
const POLL: Duration = Duration::from_millis(100);

/// Hears what the group deals out.
struct Context {
    /// The two topics that every member reads.
    common: [String; 2],
    share: watch::Sender<Option<Arc<Share>>>,
}

impl ClientContext for Context {
    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "group member");
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(_) = rebalance {
            self.share.send_replace(None);
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(assigned) = rebalance else { return };
        // The group's consumer reads nothing itself.
        if let Err(error) = consumer.pause(assigned) {
            tracing::debug!(%error, "partitions could not be paused");
        }
        let ours = partitions(assigned).filter(|(topic, _)| !self.common.contains(topic)).collect();
        self.share.send_replace(Some(Arc::new(ours)));
    }
}

fn partitions(list: &TopicPartitionList) -> impl Iterator<Item = (String, i32)> {
    list.elements().into_iter().map(|element| (element.topic().to_owned(), element.partition()))
}

/// A member of the pipeline's group until this is dropped.
#[derive(Debug)]
pub(super) struct Membership {
    share: watch::Receiver<Option<Arc<Share>>>,
    over: Arc<AtomicBool>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Membership {
    /// Joins the group and goes on taking part in a thread of its own.
    pub(super) fn join(config: &Config, group: &str) -> Result<Self, ConsumeError> {
        let prefix = config.topic_prefix();
        let mut client = consumer_config(&config.kafka, group);
        for (name, value) in [
            ("partition.assignment.strategy", "roundrobin"),
            // A member that dies is soon replaced, and so is a topic that is new soon dealt out.
            ("session.timeout.ms", "10000"),
            ("topic.metadata.refresh.interval.ms", "5000"),
        ] {
            if !config.kafka.options.contains_key(name) {
                client.set(name, value);
            }
        }
        let (sender, share) = watch::channel(None);
        let context = Context { common: [cuts_topic(prefix), schemas_topic(prefix)], share: sender };
        let consumer: BaseConsumer<Context> =
            client.create_with_context(context).map_err(failed("creating the group's consumer"))?;
        let pattern = format!("^{}\\..*", prefix.replace('.', "\\."));
        consumer.subscribe(&[&pattern]).map_err(failed("joining the group"))?;
        let over = Arc::new(AtomicBool::new(false));
        let leave = Arc::clone(&over);
        std::thread::Builder::new()
            .name("group".into())
            .spawn(move || {
                while !leave.load(Ordering::Relaxed) {
                    // No message comes from paused partitions; what comes are errors, which pass or repeat themselves.
                    if let Some(Err(error)) = consumer.poll(POLL) {
                        tracing::debug!(%error, "group member");
                    }
                }
            })
            .map_err(|source| ConsumeError::Thread { source })?;
        Ok(Self { share, over })
    }

    /// Waits until the group has dealt something out.
    pub(super) async fn dealt(&mut self) -> Option<Arc<Share>> {
        let share = self.share.wait_for(Option::is_some).await.ok()?;
        share.clone()
    }

    /// Waits until it deals anew. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        // An error means that the thread is gone, which ends the share too.
        self.share.changed().await.ok();
    }
}

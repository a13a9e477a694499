//! Topics and groups: creating them and deleting them.

use std::time::Duration;

use backon::{BlockingRetryable, ConstantBuilder};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic as Topic;

use super::PublishError;
use super::kafka::{client_config, without_value};
use super::reach::reach;
use crate::config::Config;
use crate::table::TableName;
use crate::wire::{cuts_topic, data_topic, schemas_topic};

/// Longest wait for an answer of the cluster.
pub(super) const ASK: Duration = Duration::from_secs(20);

pub(super) fn failed(what: &'static str) -> impl Fn(KafkaError) -> PublishError {
    move |source| PublishError::Kafka { what, source: without_value(source) }
}

fn admin(config: &Config) -> Result<AdminClient<DefaultClientContext>, PublishError> {
    client_config(&config.kafka).create().map_err(failed("creating the admin client"))
}

/// Returns the topics of these tables and the pipeline's own, with partitions and cleanup policy.
fn wanted(config: &Config, tables: &[TableName]) -> Vec<(String, i32, String)> {
    let prefix = config.topic_prefix();
    let data = tables.iter().map(|table| {
        (data_topic(prefix, table), config.kafka.partitions, config.kafka.cleanup_policy.clone())
    });
    let own =
        [(cuts_topic(prefix), 1, "delete".to_owned()), (schemas_topic(prefix), 1, "compact".to_owned())];
    data.chain(own).collect()
}

/// Creates the topics that are missing; returns their names. Topics that exist are left as they are.
pub async fn create_topics(config: &Config, tables: &[TableName]) -> Result<Vec<String>, PublishError> {
    tokio::task::block_in_place(|| reach(&config.kafka))?;
    let admin = admin(config)?;
    let created = create(config, &admin, &wanted(config, tables)).await?;
    tokio::task::block_in_place(|| wait_for(&admin, &created))?;
    Ok(created)
}

/// Creates the topic of one table, unless it is there. Blocking.
pub(super) fn create_topic(config: &Config, table: &TableName) -> Result<(), PublishError> {
    let topic = data_topic(config.topic_prefix(), table);
    let mut wanted = wanted(config, std::slice::from_ref(table));
    wanted.retain(|(name, ..)| *name == topic);
    let admin = admin(config)?;
    tokio::runtime::Handle::current().block_on(create(config, &admin, &wanted))?;
    Ok(())
}

/// Waits until the cluster names topics that were just created, with a leader for each partition. Blocking.
fn wait_for(admin: &AdminClient<DefaultClientContext>, created: &[String]) -> Result<(), PublishError> {
    let first_missing = || {
        let metadata = admin.inner().fetch_metadata(None, ASK).map_err(failed("asking for the topics"))?;
        let ready = |name: &&String| {
            let found = metadata.topics().iter().find(|topic| topic.name() == **name);
            found.is_some_and(|topic| {
                topic.error().is_none()
                    && !topic.partitions().is_empty()
                    && topic.partitions().iter().all(|partition| partition.leader() >= 0)
            })
        };
        match created.iter().find(|name| !ready(name)) {
            Some(topic) => Err(PublishError::NoTopic { topic: topic.clone() }),
            None => Ok(()),
        }
    };
    once_there(first_missing)
}

/// Asks, and asks again for a few seconds while a topic that was just created is not known everywhere. Blocking.
pub(super) fn once_there<T>(ask: impl FnMut() -> Result<T, PublishError>) -> Result<T, PublishError> {
    ask.retry(ConstantBuilder::new().with_delay(Duration::from_millis(100)).with_max_times(100))
        .when(|error| matches!(error, PublishError::NoTopic { .. }))
        .call()
}

async fn create(
    config: &Config,
    admin: &AdminClient<DefaultClientContext>,
    wanted: &[(String, i32, String)],
) -> Result<Vec<String>, PublishError> {
    let topics: Vec<NewTopic<'_>> = wanted
        .iter()
        .map(|(name, partitions, cleanup)| {
            let replicas = TopicReplication::Fixed(config.kafka.replication_factor);
            let topic = NewTopic::new(name, *partitions, replicas).set("cleanup.policy", cleanup);
            // Unread messages must not expire: the applier decides what is read.
            if cleanup == "delete" { topic.set("retention.ms", "-1") } else { topic }
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(ASK)).request_timeout(Some(ASK));
    let results = admin.create_topics(&topics, &options).await.map_err(failed("creating topics"))?;
    let mut created = Vec::new();
    for result in results {
        match result {
            Ok(topic) => created.push(topic),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(failed("creating topics")(KafkaError::AdminOp(code))),
        }
    }
    Ok(created)
}

/// Deletes the topics of these tables and the pipeline's own; returns the names of those that existed.
pub async fn delete_topics(config: &Config, tables: &[TableName]) -> Result<Vec<String>, PublishError> {
    let names: Vec<String> = wanted(config, tables).into_iter().map(|(name, ..)| name).collect();
    delete_named(config, &names).await
}

/// Deletes topics; returns the names of those that existed.
pub async fn delete_named(config: &Config, names: &[String]) -> Result<Vec<String>, PublishError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = AdminOptions::new().operation_timeout(Some(ASK)).request_timeout(Some(ASK));
    let results = admin(config)?.delete_topics(&names, &options).await.map_err(failed("deleting topics"))?;
    let mut deleted = Vec::new();
    for result in results {
        match result {
            Ok(topic) => deleted.push(topic),
            Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((_, code)) => return Err(failed("deleting topics")(KafkaError::AdminOp(code))),
        }
    }
    Ok(deleted)
}

/// Deletes a consumer group with its offsets; one that does not exist is fine.
pub async fn delete_group(config: &Config, group: &str) -> Result<(), PublishError> {
    let options = AdminOptions::new().operation_timeout(Some(ASK)).request_timeout(Some(ASK));
    let results =
        admin(config)?.delete_groups(&[group], &options).await.map_err(failed("deleting the group"))?;
    match results.into_iter().next() {
        Some(Err((_, code))) if code != RDKafkaErrorCode::GroupIdNotFound => {
            Err(failed("deleting the group")(KafkaError::AdminOp(code)))
        }
        _ => Ok(()),
    }
}

/// Returns which of these consumer groups the cluster knows. Blocking.
pub fn existing_groups(config: &Config, groups: &[String]) -> Result<Vec<String>, PublishError> {
    let list = admin(config)?.inner().fetch_group_list(None, ASK).map_err(failed("asking for the groups"))?;
    let known = |name: &&String| list.groups().iter().any(|group| group.name() == name.as_str());
    Ok(groups.iter().filter(known).cloned().collect())
}

/// Returns the topics that exist: those of these tables and the pipeline's own, and the others under its prefix, without
/// those of pipelines whose prefix is longer. Blocking.
pub fn existing_topics(
    config: &Config,
    tables: &[TableName],
) -> Result<(Vec<String>, Vec<String>), PublishError> {
    let metadata = reach(&config.kafka)?;
    let names: Vec<&str> = metadata.topics().iter().map(Topic::name).collect();
    let wanted: Vec<String> = wanted(config, tables).into_iter().map(|(name, ..)| name).collect();
    let under = under(config.topic_prefix(), &names);
    let (ours, others): (Vec<&str>, Vec<&str>) =
        under.into_iter().partition(|name| wanted.iter().any(|wanted| wanted == name));
    Ok((ours.into_iter().map(str::to_owned).collect(), others.into_iter().map(str::to_owned).collect()))
}

/// Returns the topics under a prefix, in order, without those under a longer one that has a cuts topic of its own.
fn under<'a>(prefix: &str, names: &[&'a str]) -> Vec<&'a str> {
    let below =
        |prefix: &str, name: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'));
    let own = cuts_topic(prefix);
    let cuts = names.iter().filter(|name| **name != own && below(prefix, name));
    let nested: Vec<&str> = cuts.filter_map(|name| name.strip_suffix(&cuts_topic(""))).collect();
    let is_ours = |name: &str| below(prefix, name) && !nested.iter().any(|nested| below(nested, name));
    let mut found: Vec<&str> = names.iter().copied().filter(|name| is_ours(name)).collect();
    found.sort_unstable();
    found
}

/// Returns the topics of these tables and the pipeline's own that do not exist. Blocking.
pub fn missing_topics(config: &Config, tables: &[TableName]) -> Result<Vec<String>, PublishError> {
    let metadata = reach(&config.kafka)?;
    let there = |name: &str| metadata.topics().iter().any(|topic| topic.name() == name);
    Ok(wanted(config, tables).into_iter().map(|(name, ..)| name).filter(|name| !there(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_a_longer_prefix_are_somebody_elses() {
        let names = [
            "shop.public.t",
            "shop.tripline.cuts",
            "shop.tripline.schemas",
            "shop.eu.public.t",
            "shop.eu.tripline.cuts",
            "shopping.public.t",
            "shop",
            "other",
        ];
        assert_eq!(under("shop", &names), ["shop.public.t", "shop.tripline.cuts", "shop.tripline.schemas"]);
        assert_eq!(under("shop.eu", &names), ["shop.eu.public.t", "shop.eu.tripline.cuts"]);
    }
}

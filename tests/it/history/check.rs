//! What a history must look like: pure functions, each tested with faults that it has to find.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tripline::config::Delivery;

use crate::pipeline::topics::Message;

/// Checks the messages of a table's topic, partition by partition in order, against `log`: its ids and operations.
///
/// Every log row that was committed stands there and nothing else does, once with `exactly_once`. Ids of a key ascend
/// (where rows repeat, those that are new), nothing passes a truncate, a key has one partition, and directly behind
/// each delete comes its tombstone (where rows repeat, behind one of them).
pub(crate) fn topic(
    log: &BTreeMap<u64, String>,
    messages: &[Message],
    delivery: Delivery,
) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let mut bare = BTreeSet::new();
    let mut homes: HashMap<&str, i32> = HashMap::new();
    // Per partition: the highest id of each key, of all, and of truncates.
    let mut keys: HashMap<(i32, &str), u64> = HashMap::new();
    let mut highest: HashMap<i32, u64> = HashMap::new();
    let mut truncated: HashMap<i32, u64> = HashMap::new();
    for (i, message) in messages.iter().enumerate() {
        let Message { partition, cdc_id, key, value } = message;
        let op = log.get(cdc_id).ok_or_else(|| format!("{cdc_id} was rolled back or never written"))?;
        if value.is_none() {
            let before = i.checked_sub(1).map(|i| &messages[i]).filter(|before| before.value.is_some());
            let deleted = before.is_some_and(|before| {
                (before.cdc_id, before.partition, &before.key) == (*cdc_id, *partition, key)
            });
            if !deleted || op != "D" {
                return Err(format!("the tombstone of {cdc_id} is not behind its delete"));
            }
            bare.remove(cdc_id);
            continue;
        }
        let truncate = op == "T";
        // A truncate stands once on every partition.
        if !seen.insert((*cdc_id, if truncate { *partition } else { -1 })) {
            match delivery {
                Delivery::ExactlyOnce => return Err(format!("{cdc_id} stands twice on the topic")),
                Delivery::AtLeastOnce => continue,
            }
        }
        if op == "D" {
            bare.insert(*cdc_id);
        }
        if !truncate && *homes.entry(key).or_insert(*partition) != *partition {
            return Err(format!("the key of {cdc_id} stands on two partitions"));
        }
        if let Some(before) = keys.insert((*partition, key), *cdc_id)
            && before > *cdc_id
        {
            return Err(format!("{before} stands before {cdc_id} of the same key"));
        }
        let passed = if truncate { highest.get(partition) } else { truncated.get(partition) };
        if let Some(passed) = passed.filter(|passed| **passed > *cdc_id) {
            return Err(format!("{passed} stands before {cdc_id}, and one of them is a truncate"));
        }
        if truncate {
            truncated.insert(*partition, *cdc_id);
        }
        let most = highest.entry(*partition).or_default();
        *most = (*most).max(*cdc_id);
    }
    if let Some(cdc_id) = bare.first() {
        return Err(format!("no tombstone behind the delete {cdc_id}"));
    }
    let published: BTreeSet<u64> = seen.into_iter().map(|(id, _)| id).collect();
    let missing: Vec<&u64> = log.keys().filter(|id| !published.contains(id)).collect();
    match missing.first() {
        Some(first) => Err(format!("{} of {} are missing, first {first}", missing.len(), log.len())),
        None => Ok(()),
    }
}

/// Rows as text by their key, in order.
pub(crate) type States = HashMap<String, Vec<String>>;

/// Checks that the states which each key took at the destination are states of its log, in the log's order. Some may be
/// left out there, none comes back.
pub(crate) fn applied(log: &States, applied: &States) -> Result<(), String> {
    for (key, states) in applied {
        let mut log = log.get(key).into_iter().flatten();
        for (i, state) in states.iter().enumerate() {
            if !log.any(|logged| logged == state) {
                return Err(format!("state {i} of key {key} is none of the log behind the one before"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use Delivery::{AtLeastOnce, ExactlyOnce};

    /// Two keys on two partitions: 1 and 4 on the first with a truncate in between, 2, 3 and 5 on the other.
    fn log() -> BTreeMap<u64, String> {
        [(1, "I"), (2, "I"), (3, "D"), (4, "I"), (5, "I"), (6, "T"), (7, "I")]
            .map(|(id, op)| (id, op.to_owned()))
            .into()
    }

    fn message(partition: i32, cdc_id: u64, key: &str) -> Message {
        Message { partition, cdc_id, key: key.into(), value: Some("{}".into()) }
    }

    fn messages() -> Vec<Message> {
        let mut messages = vec![
            message(0, 1, "a"),
            message(0, 4, "a"),
            message(0, 6, "{}"),
            message(0, 7, "a"),
            message(1, 2, "b"),
            message(1, 3, "b"),
            message(1, 3, "b"),
            message(1, 5, "b"),
            message(1, 6, "{}"),
        ];
        messages[6].value = None;
        messages
    }

    /// Plants a fault and returns what the check says of it.
    fn fault(delivery: Delivery, plant: impl FnOnce(&mut Vec<Message>)) -> String {
        let mut messages = messages();
        plant(&mut messages);
        topic(&log(), &messages, delivery).err().unwrap_or_default()
    }

    #[test]
    fn a_topic_as_it_should_be_passes() {
        assert_eq!(fault(ExactlyOnce, |_| ()), "");
        assert_eq!(fault(AtLeastOnce, |_| ()), "");
    }

    #[test]
    fn faults_of_a_topic_are_found_whatever_the_delivery() {
        for delivery in [ExactlyOnce, AtLeastOnce] {
            let fault = |plant: fn(&mut Vec<Message>)| fault(delivery, plant);
            assert_eq!(fault(|all| drop(all.remove(1))), "1 of 7 are missing, first 4");
            assert_eq!(fault(|all| all.swap(0, 1)), "4 stands before 1 of the same key");
            assert_eq!(fault(|all| all.push(message(1, 9, "b"))), "9 was rolled back or never written");
            assert_eq!(fault(|all| drop(all.remove(6))), "no tombstone behind the delete 3");
            assert_eq!(fault(|all| all.swap(6, 7)), "the tombstone of 3 is not behind its delete");
            assert_eq!(fault(|all| all[7].value = None), "the tombstone of 5 is not behind its delete");
            assert_eq!(fault(|all| all[3].key = "b".into()), "the key of 2 stands on two partitions");
            assert_eq!(fault(|all| all.swap(2, 3)), "7 stands before 6, and one of them is a truncate");
            let passing = |all: &mut Vec<Message>| {
                all[3].cdc_id = 4;
                all[1] = message(0, 7, "c");
            };
            assert_eq!(fault(passing), "7 stands before 6, and one of them is a truncate");
        }
    }

    #[test]
    fn rows_repeat_with_at_least_once_only() {
        let again = |all: &mut Vec<Message>| {
            let twice = all[..2].to_vec();
            all.splice(2..2, twice);
        };
        assert_eq!(fault(ExactlyOnce, again), "1 stands twice on the topic");
        assert_eq!(fault(AtLeastOnce, again), "");
        let without_tombstone = |all: &mut Vec<Message>| all.insert(5, message(1, 3, "b"));
        assert_eq!(fault(ExactlyOnce, without_tombstone), "3 stands twice on the topic");
        assert_eq!(fault(AtLeastOnce, without_tombstone), "");
    }

    #[test]
    fn a_key_never_goes_back_and_takes_no_state_of_its_own() {
        let states = |states: &[&str]| -> States {
            [("k".to_owned(), states.iter().map(|state| (*state).to_owned()).collect())].into()
        };
        let log = states(&["1", "2", "1", "3"]);
        for fine in [&[][..], &["1"], &["2", "3"], &["1", "1", "3"], &["1", "2", "1", "3"]] {
            assert_eq!(applied(&log, &states(fine)), Ok(()), "{fine:?}");
        }
        for back in [&["2", "2"][..], &["3", "1"], &["1", "2", "1", "3", "3"], &["half"]] {
            assert!(applied(&log, &states(back)).is_err(), "{back:?}");
        }
        let other: States = [("other".to_owned(), vec!["1".to_owned()])].into();
        assert!(applied(&log, &other).is_err());
    }
}

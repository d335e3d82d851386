//! The producer's librdkafka properties: ours, then those of `[kafka.properties]` that a producer
//! has. The user's may be any but those that would break the order or the certainty of a delivery.

use std::collections::BTreeMap;

use rdkafka::config::ClientConfig;

use super::properties::{PropertyError, check, refusal};

/// What messages of one request take at most. Far below the limit of any topic (1 MB, unless set),
/// so that nothing small is ever refused for the company that it is sent in: a message that is
/// larger goes alone.
const BATCH_BYTES: u32 = 64 * 1024;

/// What a message may take as far as we are concerned: the topic's own limit decides.
const MESSAGE_BYTES_MAX: u32 = 256 * 1024 * 1024;

/// Properties with one right value: key, value, what another would do.
const PROMISED: &[(&str, &str, &str)] = &[
    ("enable.idempotence", "true", "would double messages and change their order"),
    ("message.timeout.ms", "0", GIVES_UP),
    ("delivery.timeout.ms", "0", GIVES_UP),
    ("retries", "2147483647", GIVES_UP),
    ("message.send.max.retries", "2147483647", GIVES_UP),
    ("queuing.strategy", "fifo", "would change the order of messages"),
    ("delivery.report.only.error", "false", "would keep from us which messages were delivered"),
];

const GIVES_UP: &str = "would give a message up, while later ones of its key go out";

const INSTEAD: &str = "leave it out: it is for what is published, and set as it must be";

/// Properties that only a producer has.
const OF_PRODUCERS: &[&str] = &[
    "transactional.id",
    "transaction.timeout.ms",
    "enable.idempotence",
    "enable.gapless.guarantee",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.ms",
    "linger.ms",
    "message.send.max.retries",
    "retries",
    "queue.buffering.backpressure.threshold",
    "compression.codec",
    "compression.type",
    "compression.level",
    "batch.num.messages",
    "batch.size",
    "delivery.report.only.error",
    "sticky.partitioning.linger.ms",
    "request.required.acks",
    "acks",
    "request.timeout.ms",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "queuing.strategy",
    "produce.offset.report",
    "partitioner",
];

/// Properties that only a consumer has.
const OF_CONSUMERS: &[&str] = &[
    "group.id",
    "group.instance.id",
    "partition.assignment.strategy",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "group.protocol.type",
    "group.protocol",
    "group.remote.assignor",
    "coordinator.query.interval.ms",
    "max.poll.interval.ms",
    "enable.auto.commit",
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "enable.auto.offset.store",
    "queued.min.messages",
    "queued.max.messages.kbytes",
    "fetch.wait.max.ms",
    "fetch.queue.backoff.ms",
    "fetch.message.max.bytes",
    "max.partition.fetch.bytes",
    "fetch.max.bytes",
    "fetch.min.bytes",
    "fetch.error.backoff.ms",
    "offset.store.method",
    "offset.store.path",
    "offset.store.sync.interval.ms",
    "isolation.level",
    "enable.partition.eof",
    "check.crcs",
    "auto.offset.reset",
    "consume.callback.max.messages",
];

/// Whether only a producer has this property.
pub(super) fn is_producers(key: &str) -> bool {
    OF_PRODUCERS.contains(&key)
}

/// Whether a property of the user's would break what is promised of published messages.
pub(super) fn check_one(key: &str, value: &str) -> Option<PropertyError> {
    let refuse = |reason: &str| Some(refusal(key, value, reason, INSTEAD));
    let promised = PROMISED.iter().find(|(name, right, _)| *name == key && *right != value);
    if let Some((.., reason)) = promised {
        return refuse(reason);
    }
    match key {
        "acks" | "request.required.acks" if !["all", "-1"].contains(&value) => {
            refuse("would take messages for delivered that a lost broker takes along")
        }
        "max.in.flight.requests.per.connection" | "max.in.flight"
            if value.parse::<u32>().is_ok_and(|number| number > 5) =>
        {
            refuse("is more than 5, beyond which brokers do not keep the order of what is sent")
        }
        "transactional.id" => refuse("would fence the producers of other pipelines and instances"),
        _ => None,
    }
}

/// The properties of the producer that publishes.
///
/// # Errors
/// The first property that would break a promise.
pub fn producer(
    brokers: &str,
    user: &BTreeMap<String, String>,
) -> Result<ClientConfig, PropertyError> {
    if let Err(mut errors) = check(user) {
        return Err(errors.remove(0));
    }
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("client.id", "longshore");
    config.set("enable.idempotence", "true").set("acks", "all");
    // What is sent stays on its way until the brokers have it or refuse it: what is given up in
    // between would be overtaken by later messages of its key.
    config.set("message.timeout.ms", "0");
    config.set("linger.ms", "5").set("compression.type", "lz4");
    config.set("batch.size", BATCH_BYTES.to_string());
    config.set("message.max.bytes", MESSAGE_BYTES_MAX.to_string());
    // Where the clients of other languages put a key, most of them.
    config.set("partitioner", "murmur2_random");
    // How long a topic that is not there may be one that was just made.
    config.set("topic.metadata.propagation.max.ms", "10000");
    config.set("statistics.interval.ms", "0");
    for (key, value) in user.iter().filter(|(key, _)| !OF_CONSUMERS.contains(&key.as_str())) {
        config.set(key, value);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn what_would_break_a_delivery_is_refused_with_the_reason() {
        for (key, value) in [
            ("acks", "1"),
            ("request.required.acks", "0"),
            ("enable.idempotence", "false"),
            ("max.in.flight", "6"),
            ("message.timeout.ms", "5000"),
            ("retries", "3"),
            ("transactional.id", "mine"),
            ("queuing.strategy", "lifo"),
        ] {
            let error = producer("b:9092", &user(&[(key, value)])).expect_err(key).to_string();
            assert!(error.contains(key) && error.contains("; leave it out"), "{error}");
        }
    }

    #[test]
    fn the_rest_is_taken_over_and_makes_a_client() {
        let user = user(&[
            ("acks", "-1"),
            ("compression.type", "zstd"),
            ("group.instance.id", "a"),
            ("session.timeout.ms", "4000"),
            ("max.in.flight", "1"),
        ]);
        let config = producer("b:9092", &user).expect("nothing is refused");
        assert_eq!(config.get("compression.type"), Some("zstd"));
        assert_eq!(config.get("group.instance.id"), None);
        assert_eq!(config.get("session.timeout.ms"), None);
        config.create_native_config().expect("librdkafka knows all of them");
    }
}

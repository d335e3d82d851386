//! The consumer's librdkafka properties: ours, then the user's `[kafka.properties]`, which may be
//! any but those that would break a promise.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use thiserror::Error;

use super::producer_properties;

/// A property that is refused, by us or by librdkafka.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("kafka.properties: \"{key}\" = \"{value}\" {reason}; {instead}")]
pub struct PropertyError {
    /// The property.
    pub key: String,
    /// Its value, hidden where it is a secret.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
    /// What to do.
    pub instead: String,
}

/// A longer linger does not make brokers hold answers back for longer.
const LINGER_FOLLOWED: Duration = Duration::from_millis(250);

/// Milliseconds that an answer is held back for at least, or not at all: a consumer that has
/// nothing to do should not ask more often.
const HOLD_BACK_MIN: u64 = 10;

/// What the properties are made from.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// The brokers to begin with, `host:port`, separated by commas.
    pub brokers: &'a str,
    /// The consumer group.
    pub group: &'a str,
    /// The user's own properties.
    pub user: &'a BTreeMap<String, String>,
    /// What the fetch queues of all partitions may hold together.
    pub fetch_budget_bytes: u64,
    /// How many partitions share it.
    pub partitions: u32,
    /// How long a small batch waits for more records.
    pub linger: Duration,
}

/// Properties with one right value, which the user may set: key, value, what another would do, and
/// what to do instead.
const PROMISED: &[(&str, &str, &str, &str)] = &[
    (
        "enable.auto.commit",
        "false",
        "would commit offsets whose records are not saved yet",
        "leave it out: offsets are committed after the save, see [pipelines.NAME.commit]",
    ),
    (
        "enable.auto.offset.store",
        "false",
        "would mark records as done that were only read",
        "leave it out: the offset is stored in PostgreSQL together with the rows",
    ),
    (
        "auto.offset.reset",
        "error",
        "would skip or repeat records silently when a stored offset is out of the broker's range",
        "set `start` of the pipeline for a first start, or move it by `longshore offsets set`",
    ),
    (
        "enable.partition.eof",
        "true",
        "would leave the stored offset before transaction markers and compacted records for ever",
        "leave it out",
    ),
    (
        "offset.store.method",
        "broker",
        "would keep offsets in files that nobody reads",
        "leave it out: the offset is stored in PostgreSQL together with the rows",
    ),
];

/// Properties that are set elsewhere or by nobody.
const REFUSED: &[(&str, &str, &str)] = &[
    ("bootstrap.servers", "has a key of its own", "set kafka.brokers"),
    ("metadata.broker.list", "has a key of its own", "set kafka.brokers"),
    ("group.id", "has a key of its own", "set `group` of the pipeline"),
    ("auto.commit.enable", "is another name of enable.auto.commit", "leave it out"),
    ("offset.store.path", "would keep offsets in files that nobody reads", "leave it out"),
    ("enabled_events", "would take events away that the consumer waits for", "leave it out"),
    ("log.queue", "is in use by the consumer itself", "leave it out"),
    (
        "test.mock.num.brokers",
        "would read from a cluster without data instead of yours",
        "use `longshore demo` for a cluster inside the process",
    ),
];

/// Checks the user's properties, all of them, before a client is made.
///
/// # Errors
/// Each property that would break a promise.
pub fn check(user: &BTreeMap<String, String>) -> Result<(), Vec<PropertyError>> {
    let errors: Vec<_> = user.iter().filter_map(|(key, value)| check_one(key, value)).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn check_one(key: &str, value: &str) -> Option<PropertyError> {
    let refused = REFUSED.iter().find(|(name, ..)| *name == key);
    if let Some((_, reason, instead)) = refused {
        return Some(refusal(key, value, reason, instead));
    }
    let promised = PROMISED.iter().find(|(name, right, ..)| *name == key && *right != value);
    if let Some((_, _, reason, instead)) = promised {
        return Some(refusal(key, value, reason, instead));
    }
    match key {
        "partition.assignment.strategy" => check_strategy(key, value),
        "group.protocol" if !["classic", "consumer"].contains(&value) => {
            Some(refusal(key, value, "is no group protocol", "use classic or consumer"))
        }
        _ => producer_properties::check_one(key, value),
    }
}

fn check_strategy(key: &str, value: &str) -> Option<PropertyError> {
    let mut names = value.split(',').map(str::trim);
    let known = value == COOPERATIVE || names.all(|n| n == "range" || n == "roundrobin");
    let instead = "use cooperative-sticky alone, or range, roundrobin or both";
    (!known).then(|| refusal(key, value, "is unknown, or mixes cooperative with eager", instead))
}

/// A refused property, its value hidden where it is a secret.
pub(super) fn refusal(key: &str, value: &str, reason: &str, instead: &str) -> PropertyError {
    let secret = ["password", "secret", "pem", "token", "jaas", "oauthbearer.config"];
    let value = if secret.iter().any(|word| key.contains(word)) { "(hidden)" } else { value };
    let own = |text: &str| text.to_owned();
    PropertyError { key: own(key), value: own(value), reason: own(reason), instead: own(instead) }
}

const COOPERATIVE: &str = "cooperative-sticky";

/// How the group moves partitions between its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Only those that move.
    Cooperative,
    /// All of them, each time.
    Eager,
}

/// The protocol that follows from the user's properties.
pub(super) fn protocol(user: &BTreeMap<String, String>) -> Protocol {
    let strategy = user.get("partition.assignment.strategy");
    if is_next_generation(user) || strategy.is_none_or(|s| s == COOPERATIVE) {
        Protocol::Cooperative
    } else {
        Protocol::Eager
    }
}

fn is_next_generation(user: &BTreeMap<String, String>) -> bool {
    user.get("group.protocol").is_some_and(|p| p == "consumer")
}

/// Whether only records of committed transactions are read.
pub(super) fn is_read_committed(user: &BTreeMap<String, String>) -> bool {
    user.get("isolation.level").is_none_or(|level| level == "read_committed")
}

/// The properties of the consumer that reads.
///
/// # Errors
/// The first property that would break a promise.
pub fn consumer(settings: &Settings<'_>) -> Result<ClientConfig, PropertyError> {
    let mut config = common(settings)?;
    for (key, value) in fetch_limits(settings) {
        config.set(key, value.to_string());
    }
    if !is_next_generation(settings.user) {
        config.set("partition.assignment.strategy", COOPERATIVE);
        // A member that died is noticed after 10 s instead of 45 s; a living one beats by itself.
        config.set("session.timeout.ms", "10000").set("heartbeat.interval.ms", "3000");
    }
    set_all(&mut config, settings.user);
    Ok(config)
}

/// The properties of a client that only asks, in the name of the same group.
///
/// # Errors
/// The first property that would break a promise.
pub fn inquirer(settings: &Settings<'_>) -> Result<ClientConfig, PropertyError> {
    let mut config = common(settings)?;
    set_all(&mut config, settings.user);
    // It joins no group: a member's name would only fence the member.
    config.remove("group.instance.id");
    Ok(config)
}

fn common(settings: &Settings<'_>) -> Result<ClientConfig, PropertyError> {
    if let Some(error) = settings.user.iter().find_map(|(key, value)| check_one(key, value)) {
        return Err(error);
    }
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", settings.brokers).set("group.id", settings.group);
    config.set("client.id", "longshore").set("isolation.level", "read_committed");
    for (key, right, ..) in PROMISED.iter().filter(|(key, ..)| *key != "offset.store.method") {
        config.set(*key, *right);
    }
    // A record that was damaged on its way is an error, not a record.
    config.set("check.crcs", "true").set("statistics.interval.ms", "0");
    Ok(config)
}

fn set_all(config: &mut ClientConfig, user: &BTreeMap<String, String>) {
    // What is for the producer would only make librdkafka warn.
    let ours = user.iter().filter(|(key, _)| !producer_properties::is_producers(key));
    for (key, value) in ours {
        config.set(key, value);
    }
}

/// Twelve parts of a partition's share: seven wait in its queue, five are a fetch on top of a full
/// queue. With an eighth of the queue for a fetch, a broker takes a third more CPU for a record at
/// 12 partitions, nearly half as much again at 64, and we need some MiB more.
///
/// A broker holds an answer back until there is a sixth of a fetch to send, or for two fifths of
/// the linger: most of what comes in would wait in a batch for that long anyway, and answers with a
/// few records each cost both sides as much as saving them. For a short linger it answers at once,
/// and where the user says how long to wait, which is meant for answers without a record.
fn fetch_limits(settings: &Settings<'_>) -> [(&'static str, u64); 7] {
    const KIB: u64 = 1024;
    let share = settings.fetch_budget_bytes / u64::from(settings.partitions.max(1));
    let fetch = (share * 5 / 12).clamp(16 * KIB, 1024 * KIB);
    let queue = share.saturating_sub(fetch).clamp(64 * KIB, 64 * KIB * KIB);
    let answer = (settings.fetch_budget_bytes / 4).clamp(1024 * KIB, 16 * KIB * KIB);
    let wait = settings.linger.min(LINGER_FOLLOWED).as_millis() as u64 * 2 / 5;
    let at_once = wait < HOLD_BACK_MIN || settings.user.contains_key("fetch.wait.max.ms");
    let (least, wait) = if at_once { (1, 100) } else { (fetch / 6, wait) };
    [
        ("queued.max.messages.kbytes", queue / KIB),
        // Stops a fetch early only for records under about 256 bytes.
        ("queued.min.messages", (queue / 256).clamp(500, 100_000)),
        ("fetch.message.max.bytes", fetch),
        ("fetch.max.bytes", answer),
        // How long a full queue is left alone: the default of a second starves a fast reader.
        ("fetch.queue.backoff.ms", 5),
        // Never more than one partition's fetch: a lone backlog is read without a wait.
        ("fetch.min.bytes", least),
        // An idle partition holds up a busy one of the same broker for no longer than this.
        ("fetch.wait.max.ms", wait),
    ]
}

/// What librdkafka says about a property, in our words.
pub(super) fn translate(failure: &KafkaError) -> Option<PropertyError> {
    let KafkaError::ClientConfig(_, reason, key, value) = failure else { return None };
    let reason = format!("is refused by librdkafka: {reason}");
    Some(refusal(key, value, &reason, "see librdkafka's CONFIGURATION.md for its properties"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn settings(user: &BTreeMap<String, String>) -> Settings<'_> {
        let (brokers, group) = ("127.0.0.1:9092", "longshore.ads");
        let linger = Duration::from_millis(50);
        Settings { brokers, group, user, fetch_budget_bytes: 8 << 20, partitions: 12, linger }
    }

    #[test]
    fn a_property_that_would_break_a_promise_is_refused_with_the_reason() {
        for (key, value) in [
            ("enable.auto.commit", "true"),
            ("enable.auto.offset.store", "true"),
            ("auto.offset.reset", "earliest"),
            ("enable.partition.eof", "false"),
            ("group.id", "mine"),
            ("bootstrap.servers", "other:9092"),
            ("offset.store.method", "file"),
            ("partition.assignment.strategy", "range,cooperative-sticky"),
            ("group.protocol", "p2p"),
        ] {
            let errors = check(&user(&[(key, value)])).expect_err(key);
            let text = errors[0].to_string();
            assert!(text.contains(key) && text.contains(value) && text.contains("; "), "{text}");
        }
    }

    #[test]
    fn a_promised_value_and_any_other_property_pass() {
        let user = user(&[
            ("enable.auto.commit", "false"),
            ("partition.assignment.strategy", "range"),
            ("client.id", "mine"),
            ("group.instance.id", "a"),
        ]);
        let config = consumer(&settings(&user)).expect("nothing is refused");
        assert_eq!(config.get("client.id"), Some("mine"));
        assert_eq!(config.get("group.instance.id"), Some("a"));
        assert_eq!(config.get("auto.offset.reset"), Some("error"));
        assert_eq!(protocol(&user), Protocol::Eager);
        assert_eq!(inquirer(&settings(&user)).expect("same").get("group.instance.id"), None);
    }

    #[test]
    fn the_next_generation_protocol_sets_what_brokers_decide_aside() {
        let user = user(&[("group.protocol", "consumer")]);
        let config = consumer(&settings(&user)).expect("nothing is refused");
        assert_eq!(config.get("session.timeout.ms"), None);
        assert_eq!(config.get("partition.assignment.strategy"), None);
        assert_eq!(protocol(&user), Protocol::Cooperative);
    }

    #[test]
    fn the_fetch_queues_follow_the_budget() {
        let user = BTreeMap::new();
        for (budget, partitions) in [(8_u64 << 20, 12), (64 << 20, 12), (256 << 20, 1)] {
            let settings = Settings { fetch_budget_bytes: budget, partitions, ..settings(&user) };
            let limits: BTreeMap<_, _> = fetch_limits(&settings).into();
            let each = limits["queued.max.messages.kbytes"] * 1024;
            let all = (each + limits["fetch.message.max.bytes"]) * u64::from(partitions);
            assert!(all <= budget, "{all} of {budget}");
            assert!(limits["fetch.min.bytes"] < limits["fetch.message.max.bytes"]);
        }
    }

    #[test]
    fn brokers_hold_answers_back_for_a_part_of_the_linger() {
        let user = BTreeMap::new();
        for (linger, wait) in [(0, 100), (1, 100), (50, 20), (60_000, 100)] {
            let linger = Duration::from_millis(linger);
            let limits: BTreeMap<_, _> =
                fetch_limits(&Settings { linger, ..settings(&user) }).into();
            assert_eq!(limits["fetch.wait.max.ms"], wait);
        }
        let user = self::user(&[("fetch.wait.max.ms", "500")]);
        let config = consumer(&settings(&user)).expect("nothing is refused");
        assert_eq!(config.get("fetch.min.bytes"), Some("1"));
    }

    #[test]
    fn an_unknown_property_is_named_and_a_secret_is_not_shown() {
        let user = user(&[("no.such.thing", "1")]);
        let config = consumer(&settings(&user)).expect("it is librdkafka's to know");
        let failure = config.create_native_config().err().expect("librdkafka does not know it");
        let text = translate(&failure).expect("it is about a property").to_string();
        assert!(text.contains("no.such.thing"), "{text}");
        assert_eq!(refusal("sasl.password", "x", "", "").value, "(hidden)");
    }
}

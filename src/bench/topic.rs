//! Topics of the bench's own on the given brokers.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use tokio::time::Instant;

use super::error::BenchError;
use crate::config::KafkaProperties;

/// How long the brokers may take for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How long a new topic may take until every partition has a leader.
const LEADERS_LIMIT: Duration = Duration::from_secs(60);

/// How long to wait between two looks at a new topic.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Makes and deletes topics.
pub(super) struct Topics {
    admin: AdminClient<DefaultClientContext>,
    properties: BTreeMap<String, String>,
}

impl Topics {
    /// Topics on `brokers`, reached by these properties.
    pub(super) fn new(brokers: &str, properties: &KafkaProperties) -> Result<Self, BenchError> {
        let properties = properties.to_map();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        for (name, value) in &properties {
            config.set(name, value);
        }
        let admin = config.create().map_err(BenchError::kafka("preparing to make a topic"))?;
        Ok(Self { admin, properties })
    }

    /// The properties, for those who send.
    pub(super) fn properties(&self) -> Vec<(String, String)> {
        self.properties.clone().into_iter().collect()
    }

    /// Makes a topic with one replica, which keeps all it is given, and waits for its leaders.
    pub(super) async fn create(&self, name: &str, partitions: i32) -> Result<(), BenchError> {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1))
            .set("retention.ms", "-1")
            .set("retention.bytes", "-1")
            .set("max.message.bytes", "2097152");
        let options = AdminOptions::new().request_timeout(Some(ANSWER_LIMIT));
        let doing = "making a topic";
        let answer = self.admin.create_topics(&[topic], &options).await;
        for made in answer.map_err(BenchError::kafka(doing))? {
            made.map_err(|(name, code)| {
                BenchError::kafka(doing)(format!("topic {name}: {code}; may this user make one?"))
            })?;
        }
        self.await_leaders(name, partitions).await
    }

    /// Deletes topics. Best effort: those that are not there any more are no error.
    pub(super) async fn delete(&self, names: &[String]) {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let options = AdminOptions::new().request_timeout(Some(ANSWER_LIMIT));
        match self.admin.delete_topics(&names, &options).await {
            Ok(answers) => {
                for (name, code) in answers.into_iter().filter_map(Result::err) {
                    tracing::warn!(topic = name, %code, "the bench's topic is not deleted");
                }
            }
            Err(error) => tracing::warn!(?names, %error, "the bench's topics are not deleted"),
        }
    }

    async fn await_leaders(&self, name: &str, partitions: i32) -> Result<(), BenchError> {
        let deadline = Instant::now() + LEADERS_LIMIT;
        loop {
            let client = self.admin.inner();
            // Blocks for as long as the brokers take to answer: the bench does nothing else then.
            let answer = client.fetch_metadata(Some(name), ANSWER_LIMIT);
            let answer = answer.map_err(BenchError::kafka("looking at a new topic"))?;
            let led = answer.topics().iter().flat_map(|topic| topic.partitions());
            if led.filter(|partition| partition.leader() >= 0).count() == partitions as usize {
                return Ok(());
            }
            if Instant::now() > deadline {
                let problem = format!("topic {name} has no leaders");
                return Err(BenchError::Kafka { doing: "waiting for a new topic", problem });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

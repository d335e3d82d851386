//! Topics on given brokers, for whoever fills them.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use thiserror::Error;
use tokio::time::Instant;

use crate::config::KafkaProperties;

/// How long the brokers may take for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How long a new topic may take until every partition has a leader.
const LEADERS_LIMIT: Duration = Duration::from_secs(60);

/// How long to wait between two looks at a new topic.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Why a topic was not made.
#[derive(Debug, Error)]
#[error("the brokers, while {doing}: {problem}")]
pub struct TopicError {
    doing: &'static str,
    problem: String,
}

impl TopicError {
    fn of<E: std::fmt::Display>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self { doing, problem: error.to_string() }
    }
}

/// Makes and deletes topics.
pub(crate) struct Topics {
    admin: AdminClient<DefaultClientContext>,
    properties: BTreeMap<String, String>,
}

impl Topics {
    /// Topics on `brokers`, reached by these properties.
    pub(crate) fn new(brokers: &str, properties: &KafkaProperties) -> Result<Self, TopicError> {
        let properties = properties.to_map();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        for (name, value) in &properties {
            config.set(name, value);
        }
        let admin = config.create().map_err(TopicError::of("preparing to make a topic"))?;
        Ok(Self { admin, properties })
    }

    /// The properties, for those who send.
    pub(crate) fn properties(&self) -> Vec<(String, String)> {
        self.properties.clone().into_iter().collect()
    }

    /// Makes a topic with one replica, which keeps all it is given, and waits for its leaders.
    /// `settings` are the topic's own beside that.
    pub(crate) async fn create(
        &self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<(), TopicError> {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1))
            .set("retention.ms", "-1")
            .set("retention.bytes", "-1")
            .set("max.message.bytes", "2097152");
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let options = AdminOptions::new().request_timeout(Some(ANSWER_LIMIT));
        let doing = "making a topic";
        let answer = self.admin.create_topics(&[topic], &options).await;
        for made in answer.map_err(TopicError::of(doing))? {
            made.map_err(|(name, code)| {
                TopicError::of(doing)(format!("topic {name}: {code}; may this user make one?"))
            })?;
        }
        self.await_leaders(name, partitions).await
    }

    /// Makes a topic unless it is there.
    pub(crate) async fn ensure(&self, name: &str, partitions: i32) -> Result<(), TopicError> {
        let doing = "looking for a topic";
        // Blocks for as long as the brokers take to answer. All topics: to ask for one may make it.
        let answer = self.admin.inner().fetch_metadata(None, ANSWER_LIMIT);
        let answer = answer.map_err(TopicError::of(doing))?;
        let Some(there) = answer.topics().iter().find(|topic| topic.name() == name) else {
            return self.create(name, partitions, &[]).await;
        };
        let has = there.partitions().len();
        if has < partitions as usize {
            let problem = format!("topic {name} has {has} partitions, and {partitions} are needed");
            return Err(TopicError { doing, problem });
        }
        Ok(())
    }

    /// Deletes topics. Best effort: those that are not there any more are no error.
    pub(crate) async fn delete(&self, names: &[String]) {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let options = AdminOptions::new().request_timeout(Some(ANSWER_LIMIT));
        match self.admin.delete_topics(&names, &options).await {
            Ok(answers) => {
                for (name, code) in answers.into_iter().filter_map(Result::err) {
                    tracing::warn!(topic = name, %code, "a topic is not deleted");
                }
            }
            Err(error) => tracing::warn!(?names, %error, "topics are not deleted"),
        }
    }

    async fn await_leaders(&self, name: &str, partitions: i32) -> Result<(), TopicError> {
        let deadline = Instant::now() + LEADERS_LIMIT;
        loop {
            let client = self.admin.inner();
            // Blocks for as long as the brokers take to answer: who makes one waits for it.
            let answer = client.fetch_metadata(Some(name), ANSWER_LIMIT);
            let answer = answer.map_err(TopicError::of("looking at a new topic"))?;
            let led = answer.topics().iter().flat_map(|topic| topic.partitions());
            if led.filter(|partition| partition.leader() >= 0).count() == partitions as usize {
                return Ok(());
            }
            if Instant::now() > deadline {
                let problem = format!("topic {name} has no leaders");
                return Err(TopicError { doing: "waiting for a new topic", problem });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

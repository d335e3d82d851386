//! Messages that `work` asks to publish: kept with the rows of their record, written to the outbox
//! in the same transaction, sent from there by the relay.

use std::borrow::Cow;

/// A topic's longest name, as Kafka has it.
const TOPIC_BYTES_MAX: usize = 249;

/// A message to publish: `Message::to("invoices").key(id).value(json).header("trace", trace)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    topic: Cow<'static, str>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Message {
    /// A message to `topic`, its key and its value null, without headers.
    pub fn to(topic: impl Into<Cow<'static, str>>) -> Self {
        Self { topic: topic.into(), ..Self::default() }
    }

    /// With this key: messages of one key to one topic are published in order.
    pub fn key(self, key: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// With this value.
    pub fn value(self, value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), ..self }
    }

    /// With one more header, behind those that it has.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    /// With one more header whose value is null.
    pub fn null_header(mut self, name: impl Into<String>) -> Self {
        self.headers.push((name.into(), None));
        self
    }

    /// Where it goes.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its key; `None` for null.
    pub fn key_bytes(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// Its value; `None` for null.
    pub fn value_bytes(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// Its headers in their order, names and values.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref()))
    }

    /// Whether its topic may be one at all. What is not is refused before it is written.
    pub(crate) fn has_sound_topic(&self) -> bool {
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let named = (1..=TOPIC_BYTES_MAX).contains(&self.topic.len());
        named && !matches!(&*self.topic, "." | "..") && self.topic.chars().all(sound)
    }
}

//! The brokers: whether they answer, and whether each pipeline's topics are there, the one for its
//! dead records too.

use longshore_actors::error::Fate;

use super::Finding;
use crate::config::{Config, PipelineConfig};
use crate::kafka::KafkaPositions;
use crate::positions::Positions;

pub(super) async fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for pipeline in &config.pipelines {
        findings.extend(of_pipeline(config, pipeline).await);
    }
    findings
}

async fn of_pipeline(config: &Config, pipeline: &PipelineConfig) -> Vec<Finding> {
    let properties = config.kafka.properties.to_map();
    let brokers = &config.kafka.brokers;
    let positions = match KafkaPositions::try_new(brokers, &pipeline.group, &properties) {
        Ok(positions) => positions,
        Err(error) => return vec![Finding::new("kafka.properties", false, error.to_string())],
    };
    let mut findings = Vec::new();
    for topic in &pipeline.topics {
        let subject = format!("topic {topic}");
        findings.push(match positions.describe(topic).await {
            Ok(described) => {
                let partitions = described.partitions.len();
                let cluster = described.cluster_id;
                let text = format!("{partitions} partitions in cluster {cluster}, at {brokers}");
                Finding::new(subject, true, text)
            }
            Err(error) => Finding::new(subject, false, format!("{error} (brokers: {brokers})")),
        });
    }
    if let Some(topic) = &pipeline.dead_letter_topic {
        findings.push(dead_letter_topic(&positions, topic).await);
    }
    findings
}

/// Brokers that make topics by themselves would make it with the first dead record; by their
/// defaults, which are rarely what dead records should be kept by.
async fn dead_letter_topic(positions: &KafkaPositions, topic: &str) -> Finding {
    let subject = format!("dead-letter topic {topic}");
    match positions.describe(topic).await {
        Ok(described) => {
            let text = format!("{} partitions", described.partitions.len());
            Finding::new(subject, true, text)
        }
        Err(error) if error.fate() == Fate::Stop => {
            let advice = format!("make it: kafka-topics --create --topic {topic}");
            Finding::new(subject, false, format!("{error}; {advice}, with the retention you want"))
        }
        Err(error) => Finding::new(subject, false, error.to_string()),
    }
}

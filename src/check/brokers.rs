//! The brokers: whether they answer, and whether each pipeline's topics are there.

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
    findings
}

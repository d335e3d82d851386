//! Which of Kafka's errors pass by themselves, which stop a partition, and what to say about each.

use longshore_actors::error::StoreError;
use longshore_actors::record::{NextOffset, PartitionId};
use rdkafka::types::RDKafkaErrorCode as Code;

/// Whether librdkafka goes on by itself after this error of a partition. Whatever is not listed
/// here may have lost a record (a damaged batch, an unknown codec): the partition stops.
pub(super) fn passes_by_itself(code: Code) -> bool {
    matches!(
        code,
        Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::ReplicaNotAvailable
            | Code::BrokerNotAvailable
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::KafkaStorageError
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::TopicAuthorizationFailed
            | Code::RequestTimedOut
            | Code::NetworkException
            | Code::ThrottlingQuotaExceeded
            | Code::BrokerTransportFailure
            | Code::OperationTimedOut
            | Code::AllBrokersDown
    )
}

/// Whether an error is one broker's, while others may answer.
pub(super) fn is_of_one_broker(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::Resolve
    )
}

/// What to say and do about an error of the whole consumer that librdkafka retries by itself.
pub(super) fn advice(code: Code) -> &'static str {
    match code {
        Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve => {
            "no broker answers: check kafka.brokers, the network and the brokers"
        }
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "the brokers refuse our name: check the sasl.* and ssl.* entries of kafka.properties"
        }
        Code::SSL => {
            "the connection cannot be secured: check the ssl.* entries of kafka.properties"
        }
        Code::GroupAuthorizationFailed => "grant this user READ on the consumer group",
        Code::TopicAuthorizationFailed => "grant this user READ and DESCRIBE on the topic",
        Code::ClusterAuthorizationFailed => "grant this user DESCRIBE on the cluster",
        Code::UnknownTopicOrPartition | Code::UnknownTopic => {
            "the topic is not there: create it, or correct `topics` of the pipeline"
        }
        Code::InconsistentGroupProtocol => {
            "the group's other members use another assignment strategy: use one, or another group"
        }
        _ => "it is tried again",
    }
}

/// An error of a question to the brokers, as the house takes it.
pub(super) fn store_error(what: &str, code: Code, text: &str) -> StoreError {
    let message = match text {
        "" => format!("{what}: {code}; {}", advice(code)),
        text => format!("{what}: {text} ({code}); {}", advice(code)),
    };
    match code {
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::InvalidTopic
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::Authentication
        | Code::UnsupportedVersion => StoreError::Stop(message),
        _ => StoreError::Retry(message),
    }
}

/// The words for an offset that the broker does not have.
pub(super) fn out_of_range(
    partition: &PartitionId,
    position: NextOffset,
    range: Option<(i64, i64)>,
) -> String {
    let PartitionId { topic, index } = partition;
    let subject = format!("topic {topic}, partition {index}: offset {position} is to be read next");
    let ways_out = "`longshore offsets set --to earliest` goes on from the first record that is \
                    left, `longshore offsets set --to OFFSET` (or latest, or a time) from another";
    match range {
        Some((low, high)) if position.0 < low => format!(
            "{subject}, but the broker has only {low} to {high}: {} offsets were deleted by \
             retention before their records were saved; {ways_out}",
            low - position.0
        ),
        Some((low, high)) => format!(
            "{subject}, but the broker has only {low} to {high}: the topic was made anew or its \
             end was lost; {ways_out}"
        ),
        None => format!(
            "{subject}, but the broker does not have it (its range is unknown: it did not answer); \
             {ways_out}"
        ),
    }
}

//! What an error of a partition means for reading on.

use longshore_actors::record::{NextOffset, PartitionId};
use rdkafka::types::RDKafkaErrorCode;

use super::errors::passes_by_itself;

/// Why a partition cannot be read on from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The broker does not have our position.
    OutOfRange,
    /// An error of another place: the place we asked for was not what was fetched.
    Misplaced,
    /// A record cannot be read, and why.
    Failed(String),
}

/// What an error of the partition means for reading on from `position`.
pub(super) fn judge(
    partition: &PartitionId,
    position: NextOffset,
    code: RDKafkaErrorCode,
    offset: i64,
    text: &str,
) -> Option<Obstacle> {
    match code {
        RDKafkaErrorCode::AutoOffsetReset if offset == position.0 => Some(Obstacle::OutOfRange),
        // Of another place, or of none: a new leader's log ends before the place that librdkafka
        // asked about, which a rebalance puts one past the end. If it is cut off before ours, its
        // leader says so when it is asked for ours.
        RDKafkaErrorCode::AutoOffsetReset => Some(Obstacle::Misplaced),
        _ if offset < 0 || passes_by_itself(code) => {
            tracing::warn!(%partition, %position, %code, text, "kafka cannot be read just now");
            None
        }
        _ if offset < position.0 => None,
        _ => Some(Obstacle::Failed(format!(
            "topic {}, partition {}: the record at offset {offset} cannot be read: {text}; if it \
             is damaged for good, `longshore offsets set --to {}` goes on behind it",
            partition.topic,
            partition.index,
            offset + 1
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(code: RDKafkaErrorCode, offset: i64) -> Option<Obstacle> {
        judge(&PartitionId::new("t", 0), NextOffset(7), code, offset, "")
    }

    #[test]
    fn only_the_broker_s_answer_to_our_own_place_is_out_of_range() {
        // librdkafka's own number for no offset.
        let none = -1001;
        for (offset, obstacle) in [
            (7, Obstacle::OutOfRange),
            (8, Obstacle::Misplaced),
            (6, Obstacle::Misplaced),
            (none, Obstacle::Misplaced),
        ] {
            assert_eq!(judged(RDKafkaErrorCode::AutoOffsetReset, offset), Some(obstacle));
        }
    }
}

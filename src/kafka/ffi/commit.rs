//! A commit of offsets whose answer comes back.

use std::ptr;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka_sys as sys;

use super::error_code;
use super::queue::with_queue;

/// Commits `offsets` for the consumer's group, without waiting. The answer becomes an event of the
/// consumer's queue, and so a call of its context's `commit_callback`. The safe interface's commit
/// is never answered: librdkafka does so only for a callback of C, which rdkafka does not set.
pub(in crate::kafka) fn commit<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    offsets: &TopicPartitionList,
) -> Result<(), RDKafkaErrorCode> {
    let client = consumer.client().native_ptr();
    // SAFETY: client, list and queue are alive. The list is copied, and librdkafka keeps a
    // reference of its own to the queue for the answer.
    let answer = with_queue(consumer, |queue| unsafe {
        sys::rd_kafka_commit_queue(client, offsets.ptr(), queue, None, ptr::null_mut())
    });
    match answer.ok_or(RDKafkaErrorCode::UnknownGroup)? {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(error_code(code as i32)),
    }
}

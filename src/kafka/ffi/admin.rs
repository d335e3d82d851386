//! Requests to the brokers that rdkafka has no safe call for.

use std::ffi::{CString, c_int};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka_sys as sys;
use uuid::Uuid;

use super::{error_code, text_of};

/// An end of a partition that offsets are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) enum EndOf {
    /// The first offset that the broker still has.
    Earliest,
    /// The last stable offset, or the high watermark with `read_uncommitted`.
    Latest { read_committed: bool },
}

/// Why an admin request has no answer.
#[derive(Clone, Debug)]
pub(in crate::kafka) struct AdminError {
    pub(in crate::kafka) code: RDKafkaErrorCode,
    pub(in crate::kafka) text: String,
}

/// A partition, and the offset that was asked for or why there is none.
pub(in crate::kafka) type PartitionOffset = (i32, Result<i64, RDKafkaErrorCode>);

/// Asks for one end of each of `partitions` of `topic`, with one request a broker.
pub(in crate::kafka) fn list_offsets<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partitions: &[i32],
    end: EndOf,
    timeout: Duration,
) -> Result<Vec<PartitionOffset>, AdminError> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for &partition in partitions {
        let spec = match end {
            EndOf::Earliest => rdkafka::Offset::Beginning,
            EndOf::Latest { .. } => rdkafka::Offset::End,
        };
        // Cannot fail: both are offsets that librdkafka has a number for.
        let _ = list.add_partition_offset(topic, partition, spec);
    }
    let op = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
    let event = Event::request(client, op, timeout, |options, queue| {
        if end == (EndOf::Latest { read_committed: true }) {
            let level = sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
            // SAFETY: the options are alive; the level is valid, so there is no error to free.
            unsafe { sys::rd_kafka_AdminOptions_set_isolation_level(options, level) };
        }
        // SAFETY: everything is alive, and the list is copied by the call.
        unsafe {
            sys::rd_kafka_ListOffsets(client.native_ptr(), list.ptr(), options, queue);
        }
    })?;
    let mut count = 0;
    // SAFETY: the event is a result of ListOffsets and owns `count` infos, alive until it drops.
    let infos = unsafe {
        let result = sys::rd_kafka_event_ListOffsets_result(event.0.as_ptr());
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &mut count);
        if count == 0 { &[][..] } else { std::slice::from_raw_parts(infos, count) }
    };
    let read = |&info: &*const _| {
        // SAFETY: as above; the element belongs to the info, its code is read as a number.
        let (partition, offset, code) = unsafe {
            let element = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
            let code = ptr::addr_of!((*element).err).cast::<i32>().read();
            ((*element).partition, (*element).offset, code)
        };
        (partition, if code == 0 { Ok(offset) } else { Err(error_code(code)) })
    };
    Ok(infos.iter().map(read).collect())
}

/// The topic's own id, asked of one broker by its number; `None` where the broker has none.
pub(in crate::kafka) fn topic_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    broker: i32,
    timeout: Duration,
) -> Result<Option<Uuid>, AdminError> {
    let refused =
        |text: &str| AdminError { code: RDKafkaErrorCode::InvalidTopic, text: text.into() };
    let name = CString::new(topic).map_err(|_| refused("a topic's name has no NUL"))?;
    let op = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let event = Event::request(client, op, timeout, |options, queue| {
        let (mut names, mut text) = ([name.as_ptr()], [0; 128]);
        // SAFETY: everything is alive, and the collection copies the names.
        unsafe {
            // Any broker knows it; without this the controller is asked, which a client may not
            // reach.
            let (text, room) = (text.as_mut_ptr(), text.len());
            sys::rd_kafka_AdminOptions_set_broker(options, broker, text, room);
            let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
            sys::rd_kafka_DescribeTopics(client.native_ptr(), topics, options, queue);
            sys::rd_kafka_TopicCollection_destroy(topics);
        }
    })?;
    let mut count = 0;
    // SAFETY: the event is a result of DescribeTopics and owns what is read here.
    let (code, high, low) = unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0.as_ptr());
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if count == 0 {
            return Ok(None);
        }
        let error = sys::rd_kafka_TopicDescription_error(*topics);
        let code = if error.is_null() { 0 } else { sys::rd_kafka_error_code(error) as i32 };
        let id = sys::rd_kafka_TopicDescription_topic_id(*topics);
        if id.is_null() {
            return Ok(None);
        }
        let high = sys::rd_kafka_Uuid_most_significant_bits(id);
        (code, high, sys::rd_kafka_Uuid_least_significant_bits(id))
    };
    match code {
        0 => {
            let id = Uuid::from_u64_pair(high.cast_unsigned(), low.cast_unsigned());
            Ok((!id.is_nil()).then_some(id))
        }
        code => Err(AdminError { code: error_code(code), text: error_code(code).to_string() }),
    }
}

/// The answer to an admin request.
struct Event(NonNull<sys::rd_kafka_event_t>);

impl Event {
    fn request<C: ClientContext>(
        client: &Client<C>,
        op: sys::rd_kafka_admin_op_t,
        timeout: Duration,
        send: impl FnOnce(*mut sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    ) -> Result<Self, AdminError> {
        let timeout_ms = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the client is alive. Options and queue are made, used and destroyed here; an
        // answer that comes later is thrown away by librdkafka with its queue.
        let event = unsafe {
            let options = sys::rd_kafka_AdminOptions_new(client.native_ptr(), op);
            let (mut text, room) = ([0; 128], 128);
            sys::rd_kafka_AdminOptions_set_request_timeout(
                options,
                timeout_ms,
                text.as_mut_ptr(),
                room,
            );
            let queue = sys::rd_kafka_queue_new(client.native_ptr());
            send(options, queue);
            // A little longer than the request itself, so that its own words are heard.
            let event = sys::rd_kafka_queue_poll(queue, timeout_ms.saturating_add(500));
            sys::rd_kafka_queue_destroy(queue);
            sys::rd_kafka_AdminOptions_destroy(options);
            event
        };
        let timed_out = || AdminError {
            code: RDKafkaErrorCode::OperationTimedOut,
            text: "no answer in time".into(),
        };
        let event = Self(NonNull::new(event).ok_or_else(timed_out)?);
        // SAFETY: the event is ours until it drops.
        let (code, text) = unsafe {
            let code = sys::rd_kafka_event_error(event.0.as_ptr()) as i32;
            (code, text_of(sys::rd_kafka_event_error_string(event.0.as_ptr())))
        };
        if code == 0 { Ok(event) } else { Err(AdminError { code: error_code(code), text }) }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: ours, and nothing borrowed from it is left.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

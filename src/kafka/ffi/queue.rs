//! Our own handle to a partition's queue, and what is read from it in one call.

use std::ffi::{CStr, CString, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::LazyLock;

use longshore_actors::arena::RecordParts;
use longshore_actors::record::{NextOffset, Offset, PartitionId};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka_sys as sys;

use super::{error_code, text_of};

/// What came out of a partition's queue.
pub(in crate::kafka) enum Polled<'a> {
    /// A record; its bytes live as long as the call.
    Record(PolledRecord<'a>),
    /// The end of the partition was reached; reading goes on from here.
    PartitionEof { position: NextOffset },
    /// Something is wrong with this partition.
    Error { code: RDKafkaErrorCode, offset: i64, text: String },
}

/// A record in librdkafka's memory.
pub(in crate::kafka) struct PolledRecord<'a> {
    /// All but its headers.
    pub(in crate::kafka) parts: RecordParts<'a>,
    message: NonNull<sys::rd_kafka_message_t>,
}

impl PolledRecord<'_> {
    /// Hands each header to `take`, in their order.
    pub(in crate::kafka) fn headers(&self, mut take: impl FnMut(&[u8], Option<&[u8]>)) {
        if self.shows_no_headers() {
            return;
        }
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive (`self` borrows from the read that destroys it later) and
        // owns its headers; an error means that it has none.
        let found = unsafe { sys::rd_kafka_message_headers(self.message.as_ptr(), &mut headers) };
        if found != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: `headers` is the message's own list; an index past its end is an error.
            let found = unsafe {
                sys::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size)
            };
            if found != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            // SAFETY: a found header has a terminated name, and `size` bytes or a null value, both
            // owned by the message.
            let (name, value) = unsafe { (CStr::from_ptr(name), part(value, size)) };
            take(name.to_bytes(), value);
        }
    }

    /// Whether the message shows that it has no headers: behind its value lies their number.
    ///
    /// # Why
    /// To say that there are none, librdkafka makes a buffer, parses and frees it: half of what it
    /// costs to read a record.
    fn shows_no_headers(&self) -> bool {
        let Some(value) = self.parts.value.filter(|value| !value.is_empty()) else { return false };
        // SAFETY: the message is alive.
        let epoch = unsafe { sys::rd_kafka_message_leader_epoch(self.message.as_ptr()) };
        if epoch < 0 || !lays_out_as_known() {
            return false;
        }
        // SAFETY: an epoch is only told of messages in the second format of record batches. There
        // the number of headers, of one byte at least, follows the value; and a value that is not
        // empty lies in the buffer that the whole batch was fetched or unpacked into.
        unsafe { *value.as_ptr().add(value.len()) == 0 }
    }
}

/// Whether messages lie in memory as in the version of librdkafka that was looked at.
fn lays_out_as_known() -> bool {
    static KNOWN: LazyLock<bool> = LazyLock::new(|| {
        // SAFETY: answers a number. Its bytes are major, minor, revision and pre-release.
        let version = unsafe { sys::rd_kafka_version() };
        version >> 16 == 0x020c
    });
    *KNOWN
}

/// Room for the messages of one read, kept between reads.
pub(in crate::kafka) struct ReadBuffer(Vec<*mut sys::rd_kafka_message_t>);

impl ReadBuffer {
    /// The most messages that one read takes.
    pub(in crate::kafka) const MESSAGES_MAX: usize = 1000;

    pub(in crate::kafka) fn new() -> Self {
        Self(vec![ptr::null_mut(); Self::MESSAGES_MAX])
    }
}

/// The messages of one read, destroyed when they were looked at, also by a panic.
struct Messages<'b>(&'b [*mut sys::rd_kafka_message_t]);

impl Drop for Messages<'_> {
    fn drop(&mut self) {
        for &message in self.0 {
            // SAFETY: the read gave us this message to own, and nobody destroyed it before.
            unsafe { sys::rd_kafka_message_destroy(message) };
        }
    }
}

/// Our own handle to the queue of one partition. Borrows its consumer: a handle that outlives the
/// consumer reads freed memory.
pub(in crate::kafka) struct PartitionHandle<'c> {
    queue: NonNull<sys::rd_kafka_queue_t>,
    _consumer: PhantomData<&'c ()>,
}

impl<'c> PartitionHandle<'c> {
    /// Takes the partition's queue out of the consumer's own one. `None` if there is no such
    /// partition or name. To be called anew for each assignment, before its records are fetched.
    pub(in crate::kafka) fn open<C: ConsumerContext>(
        consumer: &'c BaseConsumer<C>,
        partition: &PartitionId,
    ) -> Option<Self> {
        let topic = CString::new(&*partition.topic).ok()?;
        // SAFETY: the client is alive and is a consumer; the name is terminated; a null queue
        // stands for no forwarding. The queue's reference is given back in `drop`.
        let queue = unsafe {
            let client = consumer.client().native_ptr();
            let queue = sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition.index);
            let queue = NonNull::new(queue)?;
            sys::rd_kafka_queue_forward(queue.as_ptr(), ptr::null_mut());
            queue
        };
        Some(Self { queue, _consumer: PhantomData })
    }

    /// How many messages wait in the queue, about.
    pub(in crate::kafka) fn waiting(&self) -> usize {
        // SAFETY: the queue is ours and the consumer alive.
        unsafe { sys::rd_kafka_queue_length(self.queue.as_ptr()) }
    }

    /// Takes up to `max` messages without waiting, shows them to `take` in their order, and
    /// destroys them. Gives their number.
    pub(in crate::kafka) fn read(
        &mut self,
        buffer: &mut ReadBuffer,
        max: usize,
        mut take: impl FnMut(Polled<'_>),
    ) -> usize {
        let max = max.min(buffer.0.len());
        // SAFETY: the buffer has room for `max` pointers and the queue is ours.
        let read = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, buffer.0.as_mut_ptr(), max)
        };
        let messages = Messages(&buffer.0[..usize::try_from(read).unwrap_or(0)]);
        for &message in messages.0 {
            // SAFETY: the read filled this place with a message, which `messages` keeps alive
            // beyond the call of `take`; nobody else knows it.
            unsafe { take(look_at(message)) };
        }
        messages.0.len()
    }
}

impl Drop for PartitionHandle<'_> {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that `open` took.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// # Safety
/// `message` is a consumed message, alive for as long as the answer is used.
unsafe fn look_at<'a>(message: *mut sys::rd_kafka_message_t) -> Polled<'a> {
    // SAFETY: by the caller. The code is read as a number: a broker newer than the bindings may
    // send one that the enum does not have.
    let (code, message) = unsafe {
        (ptr::addr_of!((*message).err).cast::<i32>().read(), NonNull::new_unchecked(message))
    };
    // SAFETY: by the caller; `err` is not read through this reference.
    let fields = unsafe { message.as_ref() };
    if code == 0 {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: by the caller; key and payload are null or have the lengths beside them.
        let (time, key, value) = unsafe {
            (
                sys::rd_kafka_message_timestamp(message.as_ptr(), &mut kind),
                part(fields.key, fields.key_len),
                part(fields.payload, fields.len),
            )
        };
        let timestamp_ms = (time >= 0).then_some(time);
        let parts = RecordParts { offset: Offset(fields.offset), timestamp_ms, key, value };
        return Polled::Record(PolledRecord { parts, message });
    }
    if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF as i32 {
        return Polled::PartitionEof { position: NextOffset(fields.offset) };
    }
    // SAFETY: by the caller; an error's text is null or terminated and owned by the message.
    let text = unsafe { text_of(sys::rd_kafka_message_errstr(message.as_ptr())) };
    Polled::Error { code: error_code(code), offset: fields.offset, text }
}

/// # Safety
/// `start` is null or points to `length` bytes that live for `'a`.
unsafe fn part<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: by the caller.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) })
}

/// How many events wait in the consumer's own queue.
pub(in crate::kafka) fn events_waiting<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> usize {
    // SAFETY: the queue is alive.
    with_queue(consumer, |queue| unsafe { sys::rd_kafka_queue_length(queue) }).unwrap_or(0)
}

/// What `ask` says of the consumer's own queue, which lives as long as the call; `None` if it has
/// none, for want of a group.
pub(super) fn with_queue<C: ConsumerContext, T>(
    consumer: &BaseConsumer<C>,
    ask: impl FnOnce(*mut sys::rd_kafka_queue_t) -> T,
) -> Option<T> {
    // SAFETY: the client is alive.
    let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
    if queue.is_null() {
        return None;
    }
    let answer = ask(queue);
    // SAFETY: the reference is ours, and not used any more.
    unsafe { sys::rd_kafka_queue_destroy(queue) };
    Some(answer)
}

/// The partition's high watermark as the last fetch brought it along; nothing is asked.
pub(in crate::kafka) fn cached_end<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partition: &PartitionId,
) -> Option<NextOffset> {
    let topic = CString::new(&*partition.topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client is alive, the name terminated, and both places are ours.
    let answer = unsafe {
        sys::rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            partition.index,
            &mut low,
            &mut high,
        )
    };
    let known = answer == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0;
    known.then_some(NextOffset(high))
}

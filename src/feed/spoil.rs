//! Ways in which a record of a feed cannot be read. Each takes a good value and spoils it.

/// Those of ads, each seen in some topic.
pub(super) const WAYS: [fn(&mut Vec<u8>); 12] = [
    cut_short,
    // Empty, which is not null.
    Vec::clear,
    put_in_a_list,
    // A field too few: under another name it is unknown, and ignored.
    |value| insert_after(value, "\"user", b"_name_or"),
    // A field twice.
    |value| insert_after(value, "{", b"\"kind\":\"click\","),
    // An id with a fraction.
    |value| insert_after(value, "\"campaign_id\":", b"0."),
    // An id of another type.
    |value| insert_after(value, "\"advertiser_id\":", b"true,\"old_id\":"),
    // A cost that no integer holds.
    |value| insert_after(value, "\"cost_micros\":", b"99999999999999999999"),
    // A kind that nobody knows.
    |value| insert_after(value, "\"kind\":\"", b"un"),
    // An event id that is none.
    |value| insert_after(value, "\"event_id\":\"", b"z"),
    // A time that is none.
    |value| insert_after(value, "\"occurred_at\":\"", b"on "),
    // Bytes that are no UTF-8.
    |value| insert_after(value, "\"user_id\":\"", &[0xC3, 0x28]),
];

/// Those of payments.
pub(super) const WAYS_OF_PAYMENTS: [fn(&mut Vec<u8>); 11] = [
    cut_short,
    Vec::clear,
    put_in_a_list,
    // A field too few: under another name it is unknown, and ignored.
    |value| insert_after(value, "\"account", b"_number_or"),
    // A field twice.
    |value| insert_after(value, "{", b"\"amount_cents\":1,"),
    // An amount with a fraction, as text, of nothing, and more than an integer holds.
    |value| insert_after(value, "\"amount_cents\":", b"0.5,\"old\":"),
    |value| insert_after(value, "\"amount_cents\":", b"\"5\",\"old\":"),
    |value| insert_after(value, "\"amount_cents\":", b"0,\"old\":"),
    |value| insert_after(value, "\"amount_cents\":", b"99999999999999999999,\"old\":"),
    // A payment id and a time that are none.
    |value| insert_after(value, "\"payment_id\":\"", b"z"),
    |value| insert_after(value, "\"requested_at\":\"", b"on "),
];

/// As by a producer with a limit of its own.
fn cut_short(value: &mut Vec<u8>) {
    value.truncate(value.len() / 2);
}

/// JSON, but no object.
fn put_in_a_list(value: &mut Vec<u8>) {
    value.insert(0, b'[');
    value.push(b']');
}

fn insert_after(value: &mut Vec<u8>, place: &str, inserted: &[u8]) {
    let found = value.windows(place.len()).position(|window| window == place.as_bytes());
    let end = found.map_or(0, |start| start + place.len());
    value.splice(end..end, inserted.iter().copied());
}

//! Longshore's own tables as diesel knows them; `migrations/longshore` makes them.
#![allow(missing_docs)]

diesel::table! {
    longshore.offsets (group, topic, partition) {
        group -> Text,
        cluster_id -> Nullable<Text>,
        topic -> Text,
        topic_id -> Nullable<Uuid>,
        partition -> Integer,
        next_offset -> BigInt,
        epoch -> BigInt,
        owner -> Nullable<Text>,
        settled_records -> BigInt,
        parked_records -> BigInt,
        updated_at -> Timestamptz,
        at_work -> Bool,
        deaths -> Integer,
        suspect -> Nullable<BigInt>,
        suspect_starts -> Integer,
        dead_records -> BigInt,
    }
}

diesel::table! {
    longshore.parked_records (id) {
        id -> BigInt,
        pipeline -> Text,
        group -> Text,
        topic -> Text,
        partition -> Integer,
        offset -> BigInt,
        timestamp -> Nullable<Timestamptz>,
        key -> Nullable<Binary>,
        value -> Nullable<Binary>,
        headers -> Jsonb,
        lane_key -> Nullable<Binary>,
        state -> Text,
        attempts -> Integer,
        due_at -> Nullable<Timestamptz>,
        relayed_at -> Nullable<Timestamptz>,
        relay_error -> Nullable<Text>,
        reason -> Text,
        error -> Text,
        parked_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    longshore.pipelines (pipeline) {
        pipeline -> Text,
        state -> Text,
        reason -> Nullable<Text>,
        since -> Timestamptz,
        renewed_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    longshore.outbox (id) {
        id -> BigInt,
        pipeline -> Text,
        group -> Text,
        source_topic -> Text,
        source_partition -> Integer,
        source_offset -> BigInt,
        topic -> Text,
        key -> Nullable<Binary>,
        value -> Nullable<Binary>,
        headers -> Jsonb,
        created_at -> Timestamptz,
        published_at -> Nullable<Timestamptz>,
        failed_at -> Nullable<Timestamptz>,
        error -> Nullable<Text>,
    }
}

diesel::table! {
    longshore.budget_samples (pipeline, group, topics, at) {
        pipeline -> Text,
        group -> Text,
        topics -> Array<Text>,
        at -> Timestamptz,
        settled_records -> BigInt,
        dead_records -> BigInt,
    }
}

diesel::table! {
    longshore.audit (id) {
        id -> BigInt,
        at -> Timestamptz,
        who -> Text,
        command -> Text,
        num_rows -> BigInt,
        details -> Jsonb,
    }
}

diesel::allow_tables_to_appear_in_same_query!(offsets, parked_records, pipelines, outbox, audit);

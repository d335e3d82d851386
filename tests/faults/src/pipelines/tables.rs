//! The table that the append pipeline saves to.
#![allow(missing_docs, reason = "diesel's tables bring items without any")]

use longshore::row;

diesel::table! {
    faults.appended (id) {
        id -> BigInt,
        topic -> Text,
        partition -> Integer,
        offset -> BigInt,
        key -> Text,
        sequence -> BigInt,
        process -> BigInt,
        worked -> BigInt,
    }
}

row! {
    /// A record as it is appended. The table has no key, so nothing hides a second one.
    pub struct Appended<'a> in appended, key () {
        /// Where it says that it lies.
        pub topic: &'a str,
        /// Its partition.
        pub partition: i32,
        /// Its offset.
        pub offset: i64,
        /// Its key.
        pub key: &'a str,
        /// Its number among those of its key.
        pub sequence: i64,
        /// The process that worked it.
        pub process: i64,
        /// How many records that had worked before.
        pub worked: i64,
    }
}

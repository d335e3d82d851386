//! What ads look up, and the rows they save.

use chrono::{DateTime, Utc};
use compact_str::CompactString;
use diesel::prelude::*;
use uuid::Uuid;

use crate::{lookups, row};

/// The tables as diesel knows them.
#[allow(missing_docs)]
pub mod schema {
    diesel::table! {
        ads.advertisers (id) {
            id -> BigInt,
            name -> Text,
            status -> Text,
            currency -> Bpchar,
        }
    }

    diesel::table! {
        ads.campaigns (id) {
            id -> BigInt,
            advertiser_id -> BigInt,
            name -> Text,
            status -> Text,
        }
    }

    diesel::table! {
        ads.enriched_events (event_id) {
            event_id -> Uuid,
            kind -> Text,
            occurred_at -> Timestamptz,
            advertiser_id -> BigInt,
            advertiser_name -> Text,
            campaign_id -> BigInt,
            campaign_name -> Text,
            user_id -> Text,
            placement -> Nullable<Text>,
            cost_micros -> BigInt,
            currency -> Bpchar,
            billable -> Bool,
        }
    }
}

use schema::{advertisers, campaigns, enriched_events};

/// An advertiser. Its texts are short, and lie in the row itself.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = advertisers)]
pub struct Advertiser {
    /// Its name.
    pub name: CompactString,
    /// `active` or `paused`.
    pub status: CompactString,
    /// What its ads are paid in.
    pub currency: CompactString,
}

/// A campaign of an advertiser.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = campaigns)]
pub struct Campaign {
    /// Whose it is.
    pub advertiser_id: i64,
    /// Its name.
    pub name: CompactString,
    /// `active` or `paused`.
    pub status: CompactString,
}

lookups! {
    /// What is known about a batch of events.
    #[derive(Default)]
    pub struct Known, keys Wanted {
        /// The advertisers that the batch names.
        pub advertisers: i64 => Advertiser in advertisers::id,
        /// The campaigns that the batch names.
        pub campaigns: i64 => Campaign in campaigns::id,
        /// The events that are saved already.
        pub saved: Uuid probed in enriched_events::event_id,
    }
}

row! {
    /// An event together with what was known about it.
    #[derive(Debug)]
    pub struct EnrichedEvent<'a> in enriched_events, key (event_id) {
        /// Its id: a second event of the same id is a duplicate.
        pub event_id: Uuid,
        /// `click` or `impression`.
        pub kind: &'a str,
        /// When it happened.
        pub occurred_at: DateTime<Utc>,
        /// Whose ad it was.
        pub advertiser_id: i64,
        /// The advertiser's name at that time.
        pub advertiser_name: &'a str,
        /// The ad's campaign.
        pub campaign_id: i64,
        /// The campaign's name at that time.
        pub campaign_name: &'a str,
        /// Who saw it.
        pub user_id: &'a str,
        /// Where.
        pub placement: Option<&'a str>,
        /// What it costs, in millionths of the currency.
        pub cost_micros: i64,
        /// What it is paid in.
        pub currency: &'a str,
        /// Whether it is paid at all.
        pub billable: bool,
    }
}

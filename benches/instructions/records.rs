//! The records that are counted with, always the same ones, and what the database knows of them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use longshore::feed::{AdsFeed, AdsOptions, AdsReference, AdsShares, FeedRecord};
use longshore::pipelines::ads::tables::{Advertiser, Campaign, EnrichedEvent, Known};
use longshore_actors::arena::{RecordArena, RecordParts};
use longshore_actors::format::Format;
use longshore_actors::record::{Offset, PartitionId};
use serde::Deserialize;
use uuid::Uuid;

/// Records of a batch.
pub(crate) const BATCH_RECORDS: usize = 2_500;

const SEED: u64 = 1;

/// Where the records come from.
pub(crate) fn partition() -> PartitionId {
    PartitionId::new("ads.events", 0)
}

/// Good records of one partition: others are few, and would cost something else each time.
pub(crate) fn feed() -> AdsFeed {
    AdsFeed::with(SEED, AdsOptions { partitions: 1, shares: AdsShares::NONE, ..Default::default() })
}

/// The records of one batch.
pub(crate) fn records() -> Vec<FeedRecord> {
    feed().take(BATCH_RECORDS).collect()
}

/// The same, as the consumer thread hands them in.
pub(crate) fn arena() -> RecordArena {
    let arena = RecordArena::with_capacity(BATCH_RECORDS, 0, Format::Json);
    let mut arena = arena.of(&partition());
    for (offset, record) in (0..).zip(records()) {
        let (key, value) = (Some(record.key.as_slice()), record.value());
        arena.push(RecordParts { offset: Offset(offset), timestamp_ms: Some(offset), key, value });
    }
    arena
}

/// What a lookup finds for them.
pub(crate) fn known(reference: &AdsReference) -> Known {
    let advertisers = reference.advertisers.iter().map(|advertiser| {
        let (name, status) = ((&*advertiser.name).into(), advertiser.status().into());
        (advertiser.id, Advertiser { name, status, currency: advertiser.currency.into() })
    });
    let campaigns = reference.campaigns.iter().map(|campaign| {
        let (name, status) = ((&*campaign.name).into(), campaign.status().into());
        (campaign.id, Campaign { advertiser_id: campaign.advertiser_id, name, status })
    });
    Known { advertisers: advertisers.collect(), campaigns: campaigns.collect(), ..Known::default() }
}

/// What a record's row is made of.
#[derive(Deserialize)]
pub(crate) struct Values {
    event_id: Uuid,
    kind: String,
    advertiser_id: i64,
    campaign_id: i64,
    user_id: String,
    placement: Option<String>,
    cost_micros: i64,
    occurred_at: DateTime<Utc>,
}

/// The values of all records.
pub(crate) fn values() -> Vec<Values> {
    let read = |record: FeedRecord| serde_json::from_slice(&record.bytes);
    let values: Result<_, _> = records().into_iter().map(read).collect();
    values.expect("the feed's good records are JSON")
}

/// Their rows, ready to be encoded.
pub(crate) fn rows<'a>(
    values: &'a [Values],
    reference: &'a AdsReference,
) -> Vec<EnrichedEvent<'a>> {
    let advertisers: HashMap<_, _> =
        reference.advertisers.iter().map(|row| (row.id, row)).collect();
    let campaigns: HashMap<_, _> = reference.campaigns.iter().map(|row| (row.id, row)).collect();
    let row = |values: &'a Values| EnrichedEvent {
        event_id: values.event_id,
        kind: &values.kind,
        occurred_at: values.occurred_at,
        advertiser_id: values.advertiser_id,
        advertiser_name: &advertisers[&values.advertiser_id].name,
        campaign_id: values.campaign_id,
        campaign_name: &campaigns[&values.campaign_id].name,
        user_id: &values.user_id,
        placement: values.placement.as_deref(),
        cost_micros: values.cost_micros,
        currency: advertisers[&values.advertiser_id].currency,
        billable: false,
    };
    values.iter().map(row).collect()
}

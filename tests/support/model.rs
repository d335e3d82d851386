//! What must come out: an independent model of the contract. It looks at what records mean, never
//! at their bytes, and at nothing that the service did.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use super::records::{Event, Said, Sent};
use super::reference::Reference;

/// A row of `ads.enriched_events`, without its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Enriched {
    pub(crate) kind: &'static str,
    pub(crate) occurred_micros: i64,
    pub(crate) advertiser_id: i64,
    pub(crate) advertiser_name: String,
    pub(crate) campaign_id: i64,
    pub(crate) campaign_name: String,
    pub(crate) user_id: String,
    pub(crate) placement: Option<String>,
    pub(crate) cost_micros: i64,
    pub(crate) currency: &'static str,
    pub(crate) billable: bool,
}

/// Why a record is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Unreadable(&'static str),
    UnknownAdvertiser,
    UnknownCampaign,
    ForeignCampaign,
    /// A check of the table, or what a test added to it.
    RefusedByTable,
}

impl Why {
    fn word(self) -> &'static str {
        match self {
            Self::Unreadable(_) => "",
            Self::UnknownAdvertiser => "advertiser",
            Self::UnknownCampaign | Self::ForeignCampaign => "campaign",
            Self::RefusedByTable => "enriched_events",
        }
    }
}

/// Where a record lies.
pub(crate) type Place = (i32, i64);

/// A record that is to be parked.
#[derive(Clone, Debug)]
pub(crate) struct Parked {
    pub(crate) why: Why,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) timestamp_ms: i64,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    /// A word that an operator must find in the reason or the error.
    pub(crate) word: &'static str,
    /// It repeats a saved id and is wrong besides. The contract leaves open which of the two it is
    /// called, so that it may be parked or counted as a duplicate.
    pub(crate) may_be_a_duplicate: bool,
}

/// The end of the story.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// For each id one row, with the contents of any of these: one candidate for each partition
    /// that has a record of the id which can be saved.
    pub(crate) rows: HashMap<Uuid, Vec<Enriched>>,
    pub(crate) parked: BTreeMap<Place, Parked>,
    pub(crate) tombstones: usize,
}

impl Model {
    /// What must come of these records when the tables refuse nothing but negative costs.
    pub(crate) fn of(reference: &Reference, sent: &[Sent]) -> Self {
        Self::with_rule(reference, sent, |_| false)
    }

    /// The same, where the test's own constraints refuse some events, too.
    pub(crate) fn with_rule(
        reference: &Reference,
        sent: &[Sent],
        refused: impl Fn(&Event) -> bool,
    ) -> Self {
        let mut model = Self::default();
        let mut in_order = sent.iter().collect::<Vec<_>>();
        in_order.sort_by_key(|one| (one.draft.partition, one.offset));
        let mut saved_here = HashSet::new();
        let mut partition = None;
        for one in in_order {
            if partition.replace(one.draft.partition) != Some(one.draft.partition) {
                saved_here.clear();
            }
            model.settle(reference, one, &mut saved_here, &refused);
        }
        model.mark_open_cases(sent);
        model
    }

    fn settle(
        &mut self,
        reference: &Reference,
        one: &Sent,
        saved_here: &mut HashSet<Uuid>,
        refused: &impl Fn(&Event) -> bool,
    ) {
        let event = match &one.draft.said {
            Said::Event(event) => event,
            Said::Tombstone => {
                self.tombstones += 1;
                return;
            }
            Said::Unreadable(way) => return self.park(one, Why::Unreadable(way)),
        };
        match enrich(reference, event) {
            Err(why) => self.park(one, why),
            Ok(_) if event.cost_micros < 0 || refused(event) => {
                self.park(one, Why::RefusedByTable);
            }
            Ok(row) => {
                // Only a saved record makes a later one a duplicate, and the first wins.
                if saved_here.insert(event.event_id) {
                    self.rows.entry(event.event_id).or_default().push(row);
                }
            }
        }
    }

    fn park(&mut self, one: &Sent, why: Why) {
        let draft = &one.draft;
        let parked = Parked {
            why,
            word: why.word(),
            key: draft.key.clone(),
            value: draft.value.clone(),
            timestamp_ms: draft.timestamp_ms,
            headers: draft.headers.clone(),
            may_be_a_duplicate: false,
        };
        self.parked.insert((draft.partition, one.offset), parked);
    }

    /// A refused repeat may be a duplicate only if its id can have been saved before it: by its own
    /// partition's past, or by another partition at any time.
    fn mark_open_cases(&mut self, sent: &[Sent]) {
        let mut savable = HashMap::<Uuid, Vec<Place>>::new();
        for one in sent {
            let place = (one.draft.partition, one.offset);
            if let Said::Event(event) = &one.draft.said
                && !self.parked.contains_key(&place)
            {
                savable.entry(event.event_id).or_default().push(place);
            }
        }
        for one in sent {
            let (partition, offset) = (one.draft.partition, one.offset);
            let Said::Event(event) = &one.draft.said else { continue };
            let Some(parked) = self.parked.get_mut(&(partition, offset)) else { continue };
            parked.may_be_a_duplicate = savable.get(&event.event_id).is_some_and(|places| {
                places.iter().any(|(at, earlier)| *at != partition || *earlier < offset)
            });
        }
    }
}

/// The row of an event, or why the pipeline refuses it.
pub(crate) fn enrich(reference: &Reference, event: &Event) -> Result<Enriched, Why> {
    let Some(advertiser) = reference.advertiser(event.advertiser_id) else {
        return Err(Why::UnknownAdvertiser);
    };
    let Some((campaign, owner)) = reference.campaign(event.campaign_id) else {
        return Err(Why::UnknownCampaign);
    };
    if owner.id != advertiser.id {
        return Err(Why::ForeignCampaign);
    }
    Ok(Enriched {
        kind: if event.click { "click" } else { "impression" },
        occurred_micros: event.occurred_micros,
        advertiser_id: advertiser.id,
        advertiser_name: advertiser.name.clone(),
        campaign_id: campaign.id,
        campaign_name: campaign.name.clone(),
        user_id: event.user_id.clone(),
        placement: event.placement.clone(),
        cost_micros: event.cost_micros,
        currency: advertiser.currency,
        billable: event.click && campaign.active && advertiser.active,
    })
}

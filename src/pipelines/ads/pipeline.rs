//! Ads: each click and impression is enriched with its advertiser and campaign, and saved once.

use chrono::{DateTime, Utc};
use longshore_actors::error::{Reject, Unworked};
use longshore_actors::pipeline::{Order, Out, Outcome, Pipeline};
use longshore_actors::record::{Record, Unparsed};
use longshore_actors::text::Text;
use serde::Deserialize;
use uuid::Uuid;

#[cfg(test)]
mod fuzz;

use super::tables::{Advertiser, Campaign, EnrichedEvent, Known, Wanted};
use crate::pipelines::read;

/// The pipeline of ads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ads;

/// What a record says.
#[derive(Debug, Deserialize)]
pub struct AdEvent<'a> {
    event_id: Uuid,
    #[serde(deserialize_with = "read::word")]
    kind: Kind,
    advertiser_id: i64,
    campaign_id: i64,
    #[serde(borrow)]
    user_id: Text<'a>,
    #[serde(borrow)]
    placement: Option<Text<'a>>,
    cost_micros: i64,
    #[serde(deserialize_with = "read::time")]
    occurred_at: DateTime<Utc>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Somebody clicked.
    Click,
    /// Somebody saw it.
    Impression,
}

impl Pipeline for Ads {
    const NAME: &'static str = "ads";
    const TOPICS: &'static [&'static str] = &["ads.events"];
    const ORDER: Order = Order::Unordered;
    type Event<'a> = AdEvent<'a>;
    type Context = Known;
    type Rows = (EnrichedEvent<'static>,);

    fn parse<'a>(&self, record: &Record<'a>) -> Result<AdEvent<'a>, Unparsed> {
        record.decode()
    }

    fn keys(&self, event: &AdEvent<'_>, wanted: &mut Wanted) {
        wanted.advertisers.want(event.advertiser_id);
        wanted.campaigns.want(event.campaign_id);
        wanted.saved.want(event.event_id);
    }

    async fn work(
        &self,
        event: &AdEvent<'_>,
        known: &Known,
        out: &mut Out<'_, Self::Rows>,
    ) -> Result<Outcome, Unworked> {
        let (advertiser, campaign) = (event.advertiser(known)?, event.campaign(known)?);
        if known.saved.contains(&event.event_id) {
            return Ok(Outcome::Duplicate);
        }
        let active = campaign.status == "active" && advertiser.status == "active";
        Ok(out.save(&EnrichedEvent {
            event_id: event.event_id,
            kind: event.kind.as_str(),
            occurred_at: event.occurred_at,
            advertiser_id: event.advertiser_id,
            advertiser_name: &advertiser.name,
            campaign_id: event.campaign_id,
            campaign_name: &campaign.name,
            user_id: &event.user_id,
            placement: event.placement.as_deref(),
            cost_micros: event.cost_micros,
            currency: &advertiser.currency,
            billable: event.kind == Kind::Click && active,
        }))
    }
}

impl AdEvent<'_> {
    fn advertiser<'k>(&self, known: &'k Known) -> Result<&'k Advertiser, Reject> {
        known.advertisers.get(&self.advertiser_id).ok_or_else(|| {
            self.reject(
                "unknown advertiser",
                &format!("there is no advertiser {}", self.advertiser_id),
            )
        })
    }

    fn campaign<'k>(&self, known: &'k Known) -> Result<&'k Campaign, Reject> {
        let id = self.campaign_id;
        let campaign = known.campaigns.get(&id).ok_or_else(|| {
            self.reject("unknown campaign", &format!("there is no campaign {id}"))
        })?;
        if campaign.advertiser_id != self.advertiser_id {
            let whose = format!(
                "campaign {id} belongs to advertiser {}, not to {}",
                campaign.advertiser_id, self.advertiser_id
            );
            return Err(self.reject("campaign of another advertiser", &whose));
        }
        Ok(campaign)
    }

    fn reject(&self, reason: &'static str, what: &str) -> Reject {
        Reject::new(reason, format!("{what} (event {})", self.event_id))
    }
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Click => "click",
            Self::Impression => "impression",
        }
    }
}

//! Ads: two lookups, rows that are saved once.

use std::fmt::Write as _;

use super::{BoxedFeed, Mode, Reference, Shape, Table};
use crate::feed::{AdsFeed, AdsOptions, AdsReference, AdsShares};

/// Campaigns of each advertiser.
const CAMPAIGNS_EACH: usize = 5;

/// Users who see ads: many, so that partitions are about as full as each other.
const USERS: u32 = 1_000_000;

/// See the module.
pub(super) struct AdsMode;

impl AdsMode {
    fn advertisers(shape: &Shape) -> usize {
        // An advertiser and its campaigns are all rows of context.
        let all = usize::try_from(shape.context).unwrap_or(usize::MAX);
        (all / (CAMPAIGNS_EACH + 1)).max(2)
    }
}

impl Mode for AdsMode {
    fn name(&self) -> &'static str {
        "ads"
    }

    fn feed(&self, shape: &Shape, partitions: i32) -> BoxedFeed {
        let shares = AdsShares {
            duplicate: shape.repeats,
            malformed: shape.malformed,
            negative_cost: shape.refused,
            ..AdsShares::NONE
        };
        let options = AdsOptions {
            partitions,
            shares,
            advertisers: Self::advertisers(shape),
            campaigns_each: CAMPAIGNS_EACH,
            users: USERS,
            ..AdsOptions::default()
        };
        BoxedFeed::new(AdsFeed::with(shape.seed, options), shape)
    }

    fn table(&self) -> Option<Table> {
        Some(Table {
            name: "ads.enriched_events",
            reset: "truncate ads.enriched_events",
            resets_reference: false,
            // The feed's own clock begins in 2026.
            of_a_run: "occurred_at >= '2026-01-01'",
            preload: Some(
                "insert into ads.enriched_events select gen_random_uuid(), 'impression', \
                 timestamptz '2025-01-01' + n * interval '1 ms', 1 + n % 1000, \
                 'Anchor Books ' || (1 + n % 1000), 1 + n % 5000, 'Winter campaign', \
                 'u-' || (n % 1000000), 'top', n % 1000000, 'EUR', false \
                 from generate_series(1, $rows) n",
            ),
            left_out: None,
        })
    }

    fn reference(&self, shape: &Shape) -> Vec<Reference> {
        let all = AdsReference::generate(shape.seed, Self::advertisers(shape), CAMPAIGNS_EACH);
        let (mut advertisers, mut campaigns) = (String::new(), String::new());
        for row in &all.advertisers {
            let (id, name, currency) = (row.id, &row.name, row.currency);
            // Writing into a string cannot fail; the names have nothing that COPY reads otherwise.
            let _ = writeln!(advertisers, "{id}\t{name}\t{}\t{currency}", row.status());
        }
        for row in &all.campaigns {
            let (id, of, name) = (row.id, row.advertiser_id, &row.name);
            let _ = writeln!(campaigns, "{id}\t{of}\t{name}\t{}", row.status());
        }
        let reference = |target, rows| Reference { target, rows };
        vec![
            reference("ads.advertisers (id, name, status, currency)", advertisers),
            reference("ads.campaigns (id, advertiser_id, name, status)", campaigns),
        ]
    }
}

//! The advertisers and campaigns that the feed of ads refers to, and the SQL that puts them into
//! the database.

use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub(super) const CURRENCIES: [&str; 5] = ["EUR", "USD", "GBP", "CHF", "SEK"];

const FIRST_WORDS: [&str; 12] = [
    "Anchor", "Beacon", "Capstan", "Drift", "Ebb", "Fathom", "Gale", "Harbour", "Isle", "Jetty",
    "Keel", "Lagoon",
];

const LAST_WORDS: [&str; 10] =
    ["Air", "Books", "Coffee", "Denim", "Energy", "Foods", "Games", "Health", "Insurance", "Jobs"];

const SEASONS: [&str; 4] = ["Spring", "Summer", "Autumn", "Winter"];

/// An advertiser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertiser {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Whether it is `active`, else `paused`.
    pub is_active: bool,
    /// What it pays in.
    pub currency: &'static str,
}

impl Advertiser {
    /// Its `status` in the database.
    pub const fn status(&self) -> &'static str {
        word(self.is_active)
    }
}

/// A campaign of an advertiser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// Its id.
    pub id: i64,
    /// Whose it is.
    pub advertiser_id: i64,
    /// Its name.
    pub name: String,
    /// Whether it is `active`, else `paused`.
    pub is_active: bool,
}

impl Campaign {
    /// Its `status` in the database.
    pub const fn status(&self) -> &'static str {
        word(self.is_active)
    }
}

/// All advertisers and campaigns that a feed knows. Ids count from 1 without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdsReference {
    /// The advertisers by id.
    pub advertisers: Vec<Advertiser>,
    /// The campaigns by id.
    pub campaigns: Vec<Campaign>,
}

impl AdsReference {
    /// Makes up advertisers (at least two) with some campaigns each (at least one).
    pub fn generate(seed: u64, advertisers: usize, campaigns_each: usize) -> Self {
        // Apart from the records' numbers, so that the data stays when the records change.
        let mut rng = StdRng::seed_from_u64(seed ^ 0x0061_6473);
        let advertisers: Vec<_> =
            (1..=advertisers.max(2) as i64).map(|id| advertiser(id, &mut rng)).collect();
        let mut campaigns = Vec::with_capacity(advertisers.len() * campaigns_each.max(1));
        for advertiser in &advertisers {
            for _ in 0..campaigns_each.max(1) {
                campaigns.push(campaign(campaigns.len() as i64 + 1, advertiser.id, &mut rng));
            }
        }
        Self { advertisers, campaigns }
    }

    /// Whose campaign this is. Ids are places in the lists.
    pub(super) fn owner_of(&self, campaign: &Campaign) -> &Advertiser {
        &self.advertisers[campaign.advertiser_id as usize - 1]
    }

    /// The SQL that inserts them; rows that are there already stay as they are.
    pub fn insert_sql(&self) -> String {
        let advertisers = self.advertisers.iter().map(|row| {
            let (name, status) = (quoted(&row.name), row.status());
            format!("({}, {name}, '{status}', '{}')", row.id, row.currency)
        });
        let campaigns = self.campaigns.iter().map(|row| {
            let (name, status) = (quoted(&row.name), row.status());
            format!("({}, {}, {name}, '{status}')", row.id, row.advertiser_id)
        });
        let mut sql = String::new();
        insert(&mut sql, "ads.advertisers (id, name, status, currency)", advertisers);
        insert(&mut sql, "ads.campaigns (id, advertiser_id, name, status)", campaigns);
        sql
    }
}

fn advertiser(id: i64, rng: &mut StdRng) -> Advertiser {
    let first = FIRST_WORDS[rng.random_range(0..FIRST_WORDS.len())];
    let last = LAST_WORDS[rng.random_range(0..LAST_WORDS.len())];
    Advertiser {
        id,
        name: format!("{first} {last} {id}"),
        is_active: rng.random_bool(0.9),
        currency: CURRENCIES[rng.random_range(0..CURRENCIES.len())],
    }
}

fn campaign(id: i64, advertiser_id: i64, rng: &mut StdRng) -> Campaign {
    let season = SEASONS[rng.random_range(0..SEASONS.len())];
    Campaign {
        id,
        advertiser_id,
        name: format!("{season} campaign {id}"),
        is_active: rng.random_bool(0.9),
    }
}

pub(super) fn insert(sql: &mut String, target: &str, rows: impl Iterator<Item = String>) {
    let rows: Vec<_> = rows.collect();
    let rows = rows.join(",\n  ");
    // Writing into a string cannot fail.
    let _ = write!(sql, "insert into {target} values\n  {rows}\non conflict (id) do nothing;\n");
}

/// The word for it in the database.
const fn word(is_active: bool) -> &'static str {
    if is_active { "active" } else { "paused" }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

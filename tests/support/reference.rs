//! The advertisers and campaigns that records are enriched with.

use super::database::Database;

/// An advertiser as the table holds it.
#[derive(Clone, Debug)]
pub(crate) struct Advertiser {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) active: bool,
    pub(crate) currency: &'static str,
}

/// A campaign as the table holds it.
#[derive(Clone, Debug)]
pub(crate) struct Campaign {
    pub(crate) id: i64,
    pub(crate) advertiser_id: i64,
    pub(crate) name: String,
    pub(crate) active: bool,
}

/// All of them. Ids have gaps, so that there are unknown ones between known ones.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) advertisers: Vec<Advertiser>,
    pub(crate) campaigns: Vec<Campaign>,
}

/// Names that a wrong quoting, a wrong encoding or a trim would spoil.
const NAMES: [&str; 8] = [
    "Plain & Sons",
    "O'Hara \"Ltd\"",
    "Straße\u{301} 東京 🚢",
    " spaces around ",
    "back\\slash \\N",
    "tab\tand\nnewline",
    "",
    "{curly, braces}",
];

impl Reference {
    /// `advertisers` advertisers with five campaigns each.
    pub(crate) fn of_size(advertisers: i64) -> Self {
        let name = |id: i64| format!("{} {id}", NAMES[(id / 3) as usize % NAMES.len()]);
        let advertisers = (1..=advertisers)
            .map(|nth| Advertiser {
                id: nth * 3,
                name: name(nth * 3),
                active: nth % 5 != 0,
                currency: ["EUR", "USD", "JPY", "CHF"][nth as usize % 4],
            })
            .collect::<Vec<_>>();
        let campaigns = (0..advertisers.len() as i64 * 5)
            .map(|nth| Campaign {
                id: 1_000_000_000_000 + nth * 2,
                advertiser_id: advertisers[nth as usize / 5].id,
                name: name(nth),
                active: nth % 7 != 0,
            })
            .collect();
        Self { advertisers, campaigns }
    }

    /// The campaign at `index` and its advertiser.
    pub(crate) fn pair(&self, index: usize) -> (&Campaign, &Advertiser) {
        (&self.campaigns[index], &self.advertisers[index / 5])
    }

    /// Finds a campaign.
    pub(crate) fn campaign(&self, id: i64) -> Option<(&Campaign, &Advertiser)> {
        let index = usize::try_from(id.checked_sub(1_000_000_000_000)?).ok()?;
        (index % 2 == 0 && index / 2 < self.campaigns.len()).then(|| self.pair(index / 2))
    }

    /// Finds an advertiser.
    pub(crate) fn advertiser(&self, id: i64) -> Option<&Advertiser> {
        let index = usize::try_from(id).ok()?;
        (id % 3 == 0 && id > 0).then(|| self.advertisers.get(index / 3 - 1))?
    }

    /// Writes them to the tables of the contract.
    pub(crate) fn load(&self, database: &Database) {
        let status = |active: bool| if active { "active" } else { "paused" };
        let of = &self.advertisers;
        database.query(
            "insert into ads.advertisers (id, name, status, currency)
             select * from unnest($1::bigint[], $2::text[], $3::text[], $4::text[])",
            &[
                &of.iter().map(|one| one.id).collect::<Vec<_>>(),
                &of.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
                &of.iter().map(|one| status(one.active)).collect::<Vec<_>>(),
                &of.iter().map(|one| one.currency).collect::<Vec<_>>(),
            ],
        );
        let of = &self.campaigns;
        database.query(
            "insert into ads.campaigns (id, advertiser_id, name, status)
             select * from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[])",
            &[
                &of.iter().map(|one| one.id).collect::<Vec<_>>(),
                &of.iter().map(|one| one.advertiser_id).collect::<Vec<_>>(),
                &of.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
                &of.iter().map(|one| status(one.active)).collect::<Vec<_>>(),
            ],
        );
    }
}

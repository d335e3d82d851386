//! What stands in the tables at the end, asked of the database itself.

use std::fmt;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use indicatif::HumanCount;
use longshore_actors::error::StoreError;

use super::Fed;
use crate::postgres::errors;

/// The tables' content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// All rows added up.
    pub rows: Rows,
    /// Parked records by reason, the most frequent first.
    pub parked: Vec<Parked>,
}

/// The rows of `ads.enriched_events`, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq, QueryableByName)]
pub struct Rows {
    /// How many there are.
    #[diesel(sql_type = BigInt)]
    pub saved: i64,
    /// How many are billable.
    #[diesel(sql_type = BigInt)]
    pub billable: i64,
    /// The sum of their cost, in millionths.
    #[diesel(sql_type = BigInt)]
    pub cost_micros: i64,
}

/// Parked records of one reason.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Parked {
    /// The reason.
    #[diesel(sql_type = Text)]
    pub reason: String,
    /// How many there are.
    #[diesel(sql_type = BigInt)]
    pub records: i64,
}

impl Summary {
    /// Asks the tables, as far as `group` is concerned for parked records.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn read(conn: &mut AsyncPgConnection, group: &str) -> Result<Self, StoreError> {
        let rows = "select count(*) as saved, count(*) filter (where billable) as billable, \
             coalesce(sum(cost_micros), 0)::bigint as cost_micros from ads.enriched_events";
        let rows = sql_query(rows).get_result(conn).await;
        let parked = "select reason, count(*) as records from longshore.parked_records \
             where \"group\" = $1 group by reason order by records desc, reason";
        let parked = sql_query(parked).bind::<Text, _>(group).load(conn).await;
        Ok(Self {
            rows: rows.map_err(|error| errors::of_query(&error))?,
            parked: parked.map_err(|error| errors::of_query(&error))?,
        })
    }

    /// How the tables differ from `before` and what was fed since; empty if they add up.
    pub fn differences(&self, before: &Self, fed: &Fed) -> Vec<String> {
        let (now, then) = (&self.rows, &before.rows);
        let parked = |summary: &Self| summary.parked.iter().map(|p| p.records).sum::<i64>();
        let pairs = [
            ("rows", now.saved - then.saved, fed.expected.saved),
            ("billable rows", now.billable - then.billable, fed.sums.billable),
            ("parked records", parked(self) - parked(before), fed.expected.parked()),
        ];
        let counts = pairs.into_iter().map(|(what, found, wanted)| (what, found, wanted as i64));
        let cost = ("cost in millionths", now.cost_micros - then.cost_micros, fed.sums.cost_micros);
        counts
            .chain([cost])
            .filter(|(_, found, wanted)| found != wanted)
            .map(|(what, found, wanted)| {
                format!("{what}: {found} in the tables, {wanted} expected")
            })
            .collect()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parked = self.parked.iter().map(|parked| parked.records).sum();
        let mut lines = vec![
            ("ads.enriched_events".to_owned(), self.rows.saved, " rows"),
            ("  billable".to_owned(), self.rows.billable, ""),
            ("  cost".to_owned(), self.rows.cost_micros / 1_000_000, ""),
            ("longshore.parked_records".to_owned(), parked, " records"),
        ];
        lines.extend(self.parked.iter().map(|p| (format!("  {}", p.reason), p.records, "")));
        let width = lines.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
        for (index, (name, number, unit)) in lines.iter().enumerate() {
            let number = HumanCount(u64::try_from(*number).unwrap_or(0)).to_string();
            let end = if index > 0 { "\n" } else { "" };
            write!(f, "{end}{name:<width$} {number:>12}{unit}")?;
        }
        Ok(())
    }
}

//! What stands in the tables at the end, asked of the database itself.

use std::fmt;

use diesel::QueryableByName;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use indicatif::HumanCount;
use longshore_actors::error::StoreError;

use super::{Example, Fed};
use crate::postgres::errors;

/// The content of one example's table, and its parked records.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Whose.
    example: Example,
    /// The rows, then the example's sums.
    numbers: Vec<i64>,
    /// Parked records by reason, the most frequent first.
    parked: Vec<Parked>,
}

/// The answer to an example's query.
#[derive(QueryableByName)]
struct Numbers {
    #[diesel(sql_type = Array<BigInt>)]
    numbers: Vec<i64>,
}

/// Parked records of one reason.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
struct Parked {
    #[diesel(sql_type = Text)]
    reason: String,
    #[diesel(sql_type = BigInt)]
    records: i64,
}

impl Summary {
    /// Asks the tables, as far as the example's group is concerned for parked records.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn read(conn: &mut AsyncPgConnection, example: Example) -> Result<Self, StoreError> {
        let numbers = sql_query(example.query).get_result::<Numbers>(conn).await;
        let parked = "select reason, count(*) as records from longshore.parked_records \
             where \"group\" = $1 group by reason order by records desc, reason";
        let parked = sql_query(parked).bind::<Text, _>(example.group).load(conn).await;
        Ok(Self {
            example,
            numbers: numbers.map_err(|error| errors::of_query(&error))?.numbers,
            parked: parked.map_err(|error| errors::of_query(&error))?,
        })
    }

    /// How the tables differ from `before` and what was fed since; empty if they add up.
    pub fn differences(&self, before: &Self, fed: &Fed) -> Vec<String> {
        let sums = self.example.sums.iter().map(|(name, _)| *name);
        let names = ["rows"].into_iter().chain(sums).chain(["parked records"]);
        let parked = fed.expected.parked().cast_signed();
        let rows = [fed.expected.saved.cast_signed()];
        let wanted = rows.into_iter().chain(fed.sums.iter().copied()).chain([parked]);
        let all = |summary: &Self| [&summary.numbers[..], &[summary.num_parked()]].concat();
        let (now, then) = (all(self), all(before));
        let found = now.iter().zip(&then).map(|(now, then)| now - then);
        names
            .zip(found.zip(wanted))
            .filter(|(_, (found, wanted))| found != wanted)
            .map(|(name, (found, wanted))| {
                let table = self.example.table;
                format!("{table}, {name}: {found} in the tables, {wanted} expected")
            })
            .collect()
    }

    fn num_parked(&self) -> i64 {
        self.parked.iter().map(|parked| parked.records).sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.numbers.iter().copied().next().unwrap_or(0);
        let mut lines = vec![(self.example.table.to_owned(), rows, " rows")];
        let sums = self.example.sums.iter().zip(self.numbers.iter().skip(1));
        lines.extend(sums.map(|((name, unit), sum)| (format!("  {name}"), sum / unit, "")));
        lines.push(("longshore.parked_records".to_owned(), self.num_parked(), " records"));
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

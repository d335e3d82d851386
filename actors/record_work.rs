//! One record in the user's code: its rows and messages, and what it changes of what was looked up,
//! stay only if it is to be saved.

use crate::error::Reject;
use crate::in_flight::Worked;
use crate::pipeline::{Context, Out, Outcome, Pipeline, SharedRows};

/// Works one record, which is number `number` of its group where there is one.
pub(crate) async fn work_record<P: Pipeline>(
    pipeline: &P,
    event: &P::Event<'_>,
    known: &P::Context,
    (record, number): (u32, u32),
    rows: SharedRows,
) -> Worked {
    if P::Context::OWN_WRITES {
        // What a record has changed that was broken off.
        known.take_back();
    }
    let mut out = Out::<P::Rows>::new(rows.clone(), record);
    let outcome = pipeline.work(event, known, &mut out).await;
    let outcome = out.close(outcome);
    if P::Context::OWN_WRITES && outcome == Ok(Outcome::Save) {
        return keep(known, (record, number), &rows);
    }
    outcome
}

/// Keeps what a record has changed that is to be saved.
fn keep(known: &impl Context, (record, number): (u32, u32), rows: &SharedRows) -> Worked {
    let mut rows = rows.borrow_mut();
    known.keep(number, rows.identity_of(record)).map_or_else(
        |error| {
            rows.take_back(record);
            Err(Reject::new("value that a column cannot hold", error.to_string()).into())
        },
        |()| Ok(Outcome::Save),
    )
}

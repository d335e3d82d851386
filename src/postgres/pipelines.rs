//! Whether pipelines run, as the database has it: shared by all instances, and kept over restarts.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use longshore_actors::error::StoreError;
use longshore_actors::ports::Halt;
use serde_json::json;

use super::errors;
use super::schema::{audit, budget_samples, pipelines};

/// The state of one pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct PipelineState {
    /// Its name.
    pub pipeline: String,
    /// `running`, `paused` or `stopped`.
    pub state: String,
    /// Why.
    pub reason: Option<String>,
    /// Since when; `None` if it never was in another.
    pub since: Option<DateTime<Utc>>,
}

/// What a state means for those who read: nothing, unless it is paused or stopped.
pub fn halt(pipeline: &str, state: &str, reason: Option<&str>) -> Option<Halt> {
    let why = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    let go_on = format!("`longshore pipelines resume {pipeline}` lets it go on");
    (state != "running").then(|| Halt {
        reason: format!("{pipeline} is {state}{why}; {go_on}"),
        is_paused: state == "paused",
    })
}

/// The states of `names`, in their order. One that has no row runs.
///
/// # Errors
/// The query failed.
pub async fn states(
    conn: &mut AsyncPgConnection,
    names: &[String],
) -> Result<Vec<PipelineState>, StoreError> {
    let rows: Result<Vec<PipelineState>, _> = pipelines::table
        .filter(pipelines::pipeline.eq_any(names))
        .select((
            pipelines::pipeline,
            pipelines::state,
            pipelines::reason,
            pipelines::since.nullable(),
        ))
        .load(conn)
        .await;
    let rows = rows.map_err(|error| errors::of_query(&error))?;
    let state = |name: &String| {
        let row = rows.iter().find(|row| row.pipeline == *name).cloned();
        row.unwrap_or_else(|| PipelineState {
            pipeline: name.clone(),
            state: "running".to_owned(),
            reason: None,
            since: None,
        })
    };
    Ok(names.iter().map(state).collect())
}

/// Those of `names` that are stopped, and why.
///
/// # Errors
/// The query failed.
pub async fn stopped(
    conn: &mut AsyncPgConnection,
    names: &[String],
) -> Result<Vec<(String, String)>, StoreError> {
    let states = states(conn, names).await?.into_iter();
    let stopped = states.filter_map(|now| {
        let halt = halt(&now.pipeline, &now.state, now.reason.as_deref())?;
        (!halt.is_paused).then_some((now.pipeline, halt.reason))
    });
    Ok(stopped.collect())
}

/// Begins the dead-letter budgets of `names` anew: what died before counts no more.
async fn renew(conn: &mut AsyncPgConnection, names: &[String]) -> QueryResult<()> {
    let renewed = pipelines::table.filter(pipelines::pipeline.eq_any(names));
    let now = pipelines::renewed_at.eq(diesel::dsl::now.into_sql::<Timestamptz>().nullable());
    diesel::update(renewed).set(now).execute(conn).await?;
    let samples = budget_samples::table.filter(budget_samples::pipeline.eq_any(names));
    diesel::delete(samples).execute(conn).await?;
    Ok(())
}

/// Puts pipelines into a state, those that are in another; answers how many. Whatever goes on has
/// a new dead-letter budget.
///
/// # Errors
/// The database refuses; then nothing is changed.
pub async fn set(
    conn: &mut AsyncPgConnection,
    who: &str,
    names: &[String],
    to: &str,
    reason: &str,
) -> Result<usize, StoreError> {
    let changed = async {
        conn.batch_execute("begin isolation level read committed").await?;
        let rows: Vec<_> = names.iter().map(|name| pipelines::pipeline.eq(name)).collect();
        diesel::insert_into(pipelines::table)
            .values(rows)
            .on_conflict_do_nothing()
            .execute(conn)
            .await?;
        let others =
            pipelines::table.filter(pipelines::pipeline.eq_any(names).and(pipelines::state.ne(to)));
        let now = (
            pipelines::state.eq(to),
            pipelines::reason.eq(Some(reason)),
            pipelines::since.eq(diesel::dsl::now),
        );
        let changed = diesel::update(others).set(now).execute(conn).await?;
        if to == "running" {
            renew(conn, names).await?;
        }
        let command = if to == "running" { "pipelines resume" } else { "pipelines pause" };
        diesel::insert_into(audit::table)
            .values((
                audit::who.eq(who),
                audit::command.eq(command),
                audit::num_rows.eq(changed as i64),
                audit::details.eq(json!({ "pipelines": names })),
            ))
            .execute(conn)
            .await?;
        conn.batch_execute("commit").await?;
        Ok::<_, diesel::result::Error>(changed)
    };
    changed.await.map_err(|error| errors::of_query(&error))
}

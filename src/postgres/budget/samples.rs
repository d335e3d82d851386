//! What the database knows of a pipeline's budget: read once a second while records are saved, and
//! noted there now and then, so that whoever comes next goes on from it.

use std::time::Instant;

use chrono::{DateTime, Utc};
use deadpool_postgres::ClientWrapper;
use longshore_actors::ports::Halt;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::super::pipelines;
use super::{Budget, LOOK_INTERVAL, Sample, Tally, Window};

/// The pipeline's state, and the samples since its budget was renewed, the oldest one first. Ages
/// are in milliseconds of the server's clock.
const KNOWN: &str = r#"
    select p.state, p.reason, p.renewed_at, s.settled_records, s.dead_records,
        (extract(epoch from clock_timestamp() - s.at) * 1000)::bigint as age
    from (select $1::text as pipeline) k
    left join longshore.pipelines p on p.pipeline = k.pipeline
    left join longshore.budget_samples s on s.pipeline = k.pipeline and s."group" = $2
        and s.topics = $3 and s.at >= coalesce(p.renewed_at, '-infinity')
    order by s.at"#;

const TALLIES: &str = r#"
    select topic, partition, settled_records, dead_records
    from longshore.offsets where "group" = $1 and topic = any($2)"#;

/// Notes how it stands, in one statement with what it is reckoned from, if the last sample is not
/// of just now: a step of the window is over, or more are dead.
const NOTE: &str = r#"
    insert into longshore.budget_samples
        (pipeline, "group", topics, settled_records, dead_records)
    select $1, $2, $3, now.settled, now.dead
    from (select coalesce(sum(settled_records), 0)::bigint as settled,
                coalesce(sum(dead_records), 0)::bigint as dead
            from longshore.offsets where "group" = $2 and topic = any($3)) now
    left join lateral (
        select s.at, s.settled_records, s.dead_records from longshore.budget_samples s
        where s.pipeline = $1 and s."group" = $2 and s.topics = $3
            and s.at >= coalesce($5::timestamptz, '-infinity')
        order by s.at desc limit 1) last on true
    where last.at is null
        or (last.at < clock_timestamp() - interval '1 second'
            and (now.settled >= last.settled_records + $4 or now.dead > last.dead_records))
    on conflict do nothing"#;

/// Forgets samples of more than a minute ago that are not needed any more: those before the
/// window's beginning, but for the last of them, and all but the first of each step.
const PRUNE: &str = r#"
    with mine as (
        select s.at, s.settled_records as settled, max(s.settled_records) over () as top,
            lead(s.settled_records) over (order by s.at) as next,
            lag(s.settled_records) over (order by s.at) as previous
        from longshore.budget_samples s
        where s.pipeline = $1 and s."group" = $2 and s.topics = $3),
    old as (
        select at from mine
        where at < clock_timestamp() - interval '65 seconds'
            and (next <= top - $5::bigint or previous / $4::bigint = settled / $4::bigint))
    delete from longshore.budget_samples s using (
        select b.at from longshore.budget_samples b join old on old.at = b.at
        where b.pipeline = $1 and b."group" = $2 and b.topics = $3
        order by b.at for update of b skip locked) gone
    where s.pipeline = $1 and s."group" = $2 and s.topics = $3 and s.at = gone.at"#;

impl Budget {
    /// Looks at the database, if that was not done just now, outside of any transaction.
    ///
    /// # Errors
    /// A query failed.
    pub(in super::super) async fn look(&self, client: &ClientWrapper) -> Result<(), Error> {
        let before = {
            let mut state = self.lock();
            if state.looked_at.is_some_and(|looked| looked.elapsed() < LOOK_INTERVAL) {
                return Ok(());
            }
            // Several sessions need not look at once, but for the first time.
            if state.window.is_some() {
                state.looked_at = Some(Instant::now());
            }
            super::BeforeLook(state.stops)
        };
        let looked = self.ask(client, before).await;
        if looked.is_err() {
            self.lock().looked_at = None;
        }
        looked
    }

    async fn ask(&self, client: &ClientWrapper, before: super::BeforeLook) -> Result<(), Error> {
        let (known, tallies) =
            (client.prepare_cached(KNOWN).await?, client.prepare_cached(TALLIES).await?);
        // The samples first: the rows say more than any of them.
        let names: [&(dyn ToSql + Sync); 3] = [&self.pipeline, &self.group, &self.topics];
        let rows: [&(dyn ToSql + Sync); 2] = [&self.group, &self.topics];
        let (known, tallies) = futures_util::future::try_join(
            client.query(&known, &names),
            client.query(&tallies, &rows),
        )
        .await?;
        let renewed_at = self.take_in(before, &known, &tallies);
        let note = client.prepare_cached(NOTE).await?;
        let (step, window) = (as_i64(Window::step(&self.limits)), as_i64(self.limits.window));
        let noting: [&(dyn ToSql + Sync); 5] =
            [&self.pipeline, &self.group, &self.topics, &step, &renewed_at];
        if client.execute(&note, &noting).await? > 0 {
            let prune = client.prepare_cached(PRUNE).await?;
            let pruning: [&(dyn ToSql + Sync); 5] =
                [&self.pipeline, &self.group, &self.topics, &step, &window];
            client.execute(&prune, &pruning).await?;
        }
        Ok(())
    }

    fn take_in(
        &self,
        before: super::BeforeLook,
        known: &[Row],
        tallies: &[Row],
    ) -> Option<DateTime<Utc>> {
        let state: Option<&str> = known.first().and_then(|row| row.get(0));
        let reason: Option<&str> = known.first().and_then(|row| row.get(1));
        let renewed_at: Option<DateTime<Utc>> = known.first().and_then(|row| row.get(2));
        let halt = state.and_then(|state| pipelines::halt(&self.pipeline, state, reason));
        self.heard(before, halt.filter(|halt: &Halt| !halt.is_paused));
        let now_ms = self.now_ms();
        let mut state = self.lock();
        state.take(tallies.iter().map(|row| ((row.get(0), row.get(1)), tally(row, 2))));
        let now = Sample { at_ms: now_ms, tally: state.total() };
        if state.renewed_at != renewed_at {
            (state.renewed_at, state.window) = (renewed_at, None);
        }
        if let Some(window) = &mut state.window {
            window.note(now);
        } else {
            let samples = known.iter().filter_map(|row| {
                let age: i64 = row.get::<_, Option<i64>>(5)?;
                Some(Sample { at_ms: now_ms - age, tally: tally(row, 3) })
            });
            state.window = Some(Window::new(self.limits, samples.collect(), now));
        }
        state.looked_at = Some(Instant::now());
        renewed_at
    }
}

/// The numbers at `column` and the one after it.
fn tally(row: &Row, column: usize) -> Tally {
    let number = |column| u64::try_from(row.get::<_, i64>(column)).unwrap_or(0);
    Tally { settled: number(column), dead: number(column + 1) }
}

fn as_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

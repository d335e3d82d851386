//! The dead-letter budget in the saving transaction: which batches it still covers, and the stop of
//! the pipeline, in the transaction that crosses the limit.

use hashbrown::HashSet;
use longshore_actors::batch::WorkedBatch;
use longshore_actors::ports::{BatchReport, Halt};
use serde_json::json;
use tokio_postgres::types::ToSql;

use super::super::budget::{Exceeded, Promise, Tally};
use super::super::errors::Failure;
use super::super::pipelines;
use super::Claims;
use super::attempt::Attempt;
use super::merge::Aside;
use super::returned::pause_ms;

/// What most of the dead died of lately, those of this transaction among them.
const MOST_OFTEN: &str = "
    select lately.reason from (
        select p.reason from longshore.parked_records p
        where p.pipeline = $1 and p.state = 'dead' order by p.id desc limit 1000) lately
    group by lately.reason order by count(*) desc, lately.reason limit 1";

/// Unless somebody else stopped it first, or let it go on with a new budget meanwhile.
const STOP: &str = "
    insert into longshore.pipelines as p (pipeline, state, reason, since)
    values ($1, 'stopped', $2, now())
    on conflict (pipeline) do update set state = 'stopped', reason = excluded.reason, since = now()
    where p.state = 'running' and p.renewed_at is not distinct from $3";

const AUDIT: &str = "
    insert into longshore.audit (who, command, num_rows, details)
    values ($1, 'dead-letter budget', $2, $3)";

impl<'a> Attempt<'a> {
    /// Leaves out the batches that the budget does not cover any more; answers whether there are
    /// any, and what the others draw on it.
    pub(super) fn admit(&self, claims: &mut Claims, aside: &Aside) -> (Option<Promise<'a>>, bool) {
        let Some(budget) = &self.saver.budget else { return (None, false) };
        let aside: HashSet<(usize, u32)> = aside.waits.iter().chain(&aside.left).copied().collect();
        let going: Vec<usize> = (0..claims.len()).filter(|n| claims[*n].is_ok()).collect();
        let known = |number: &usize| {
            let is_aside = |record| aside.contains(&(*number, record));
            self.known(&self.group[*number], is_aside)
        };
        let tallies: Vec<Tally> = going.iter().map(known).collect();
        let admission = budget.admit(&tallies);
        let Some((first, halt)) = admission.left_out else {
            return (Some(admission.promise), false);
        };
        for number in &going[first..] {
            claims[*number] = Err(BatchReport::Halted(halt.clone()));
        }
        (Some(admission.promise), true)
    }

    /// What a batch comes to as far as its workers know; the database may refuse more.
    fn known(&self, worked: &WorkedBatch, is_aside: impl Fn(u32) -> bool) -> Tally {
        let policy = &self.saver.rules.retry;
        let parked = worked.batch.parked.as_deref();
        let rejections = worked.chunks.iter().flat_map(|chunk| &chunk.rejections);
        let dead = rejections.filter(|rejection| {
            let row = parked.and_then(|rows| rows.get(rejection.record as usize));
            let attempts = row.map_or(0, |row| row.attempts) + 1;
            !is_aside(rejection.record) && pause_ms(rejection.park, attempts, policy).is_none()
        });
        let records = worked.batch.parcel.arena.len() as u64;
        // What comes back was settled when it was parked.
        Tally { settled: if parked.is_none() { records } else { 0 }, dead: dead.count() as u64 }
    }

    /// Stops the pipeline, for all instances. `None`: it is not for us to stop it any more.
    pub(super) async fn stop(&self, over: &Exceeded) -> Result<Option<Halt>, Failure> {
        let (saver, client) = (self.saver, self.writer.client());
        let Some(budget) = &saver.budget else { return Ok(None) };
        let pipeline = &saver.pipeline;
        let often = self.writer.within(client.query_opt(MOST_OFTEN, &[pipeline])).await?;
        let often = often.map_or_else(String::new, |row| {
            format!(", most often with the reason {:?}", row.get::<_, &str>(0))
        });
        let reason = format!(
            "{over}{often}; `longshore parked list {pipeline} --state dead` shows them: mend the \
             cause"
        );
        let renewed_at = budget.renewed_at();
        let stop: [&(dyn ToSql + Sync); 3] = [pipeline, &reason, &renewed_at];
        if self.writer.within(client.execute(STOP, &stop)).await? == 0 {
            budget.look_again();
            return Ok(None);
        }
        let (who, details) = (saver.owner.name(), json!({ "pipelines": [pipeline] }));
        let dead = i64::try_from(over.dead()).unwrap_or(i64::MAX);
        let note: [&(dyn ToSql + Sync); 3] = [&&*who, &dead, &details];
        self.writer.within(client.execute(AUDIT, &note)).await?;
        Ok(pipelines::halt(pipeline, "stopped", Some(&reason)))
    }
}

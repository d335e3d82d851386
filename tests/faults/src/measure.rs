//! Measures how fast work goes on after two faults that every operator meets: PostgreSQL comes
//! back, and one of two instances dies. The feed goes on meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use postgres::Client;

use crate::conduct::Conductor;
use crate::schedule::{Fault, PANICS};
use crate::servers::Stop;
use crate::stage::SESSION_TIMEOUT;
use crate::wait;

/// How long PostgreSQL is away.
const AWAY: Duration = Duration::from_secs(30);
/// How soon saving must go on once it is back.
const SAVE_WITHIN: Duration = Duration::from_secs(5);
/// How soon after the session timeout a dead instance's partitions must be saved by others.
const TAKE_OVER_WITHIN: Duration = Duration::from_secs(5);
/// How soon after an actor's panic saving must go on.
const RECOVER_WITHIN: Duration = Duration::from_secs(1);
/// The same for the consumer thread, whose successor joins the group anew.
const REJOIN_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait for a message that may not come.
const MEET_WITHIN: Duration = Duration::from_secs(5);
/// How long no partition may change hands before a measure begins: what a rebalance costs belongs
/// to the fault that it came of.
const AT_REST: Duration = Duration::from_secs(2);
/// When waiting is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120);

/// Next offsets by topic and partition.
type Offsets = BTreeMap<(String, i32), i64>;

/// Takes the measures: the second if there are several instances, and one for each actor if actors
/// can be made to panic.
///
/// # Errors
/// A server cannot be had.
pub fn take(conductor: &mut Conductor<'_>) -> Result<()> {
    database_comes_back(conductor)?;
    if conductor.stage().instances.len() > 1 {
        instance_dies(conductor)?;
    }
    if conductor.stage().instances.iter().all(|instance| instance.can_panic()) {
        for what in PANICS {
            actor_panics(conductor, what)?;
        }
    }
    Ok(())
}

fn database_comes_back(conductor: &mut Conductor<'_>) -> Result<()> {
    comes_to_rest(conductor)?;
    conductor.story().tell("measuring: PostgreSQL is stopped for 30 s");
    conductor.begin(&Fault::DatabaseStop(Stop::Fast))?;
    wait::pass(AWAY, || conductor.notice())?;
    let stage = conductor.stage();
    // Asked at once, and not when the script has found it well.
    let (back, before, mut client) = std::thread::scope(|scope| {
        let start = scope.spawn(|| stage.servers.start_database());
        let found = wait::until("PostgreSQL is back", GIVE_UP_AFTER, || {
            let Ok(mut client) = stage.database.connect() else { return Ok(None) };
            let back = Instant::now();
            Ok(offsets(&mut client).ok().map(|before| (back, before, client)))
        });
        start.join().map_err(|_| anyhow::anyhow!("starting PostgreSQL panicked"))??;
        found
    })?;
    wait::until("something is saved", GIVE_UP_AFTER, || {
        Ok((offsets(&mut client)? != before).then_some(()))
    })?;
    conductor.story().measure("PostgreSQL back to first save", back.elapsed(), SAVE_WITHIN);
    Ok(())
}

fn instance_dies(conductor: &mut Conductor<'_>) -> Result<()> {
    comes_to_rest(conductor)?;
    conductor.story().tell("measuring: kill -9 of instance 2");
    conductor.begin(&Fault::Kill(2))?;
    let died = Instant::now();
    all_pass_what_is_there(conductor)?;
    let took = died.elapsed();
    let bar = SESSION_TIMEOUT + TAKE_OVER_WITHIN;
    conductor.story().measure("kill -9 to all partitions saved by the others", took, bar);
    conductor.heal(&Fault::Kill(2))
}

fn actor_panics(conductor: &mut Conductor<'_>, what: &'static str) -> Result<()> {
    comes_to_rest(conductor)?;
    let fault = Fault::Panic(1, what);
    conductor.begin(&fault)?;
    let file = conductor.stage().instance(1)?.faults().join(format!("panic.{what}"));
    let begun = Instant::now();
    let panicked = wait::until("the actor panics", GIVE_UP_AFTER, || {
        conductor.notice()?;
        let met = (!file.exists()).then(Instant::now);
        // Some messages come only when partitions move.
        Ok((met.is_some() || begun.elapsed() > MEET_WITHIN).then_some(met))
    })?;
    conductor.heal(&fault)?;
    let Some(panicked) = panicked else { return Ok(()) };
    all_pass_what_is_there(conductor)?;
    let rejoins = what.starts_with("ConsumerThread");
    let bar = if rejoins { REJOIN_WITHIN } else { RECOVER_WITHIN };
    let what = format!("panic at {what} to all partitions saved");
    conductor.story().measure(&what, panicked.elapsed(), bar);
    Ok(())
}

/// Waits until every partition is saved and none has changed hands for a while.
fn comes_to_rest(conductor: &mut Conductor<'_>) -> Result<()> {
    let mut client = conductor.stage().database.connect()?;
    let mut epochs = || -> Result<Vec<i64>> {
        let query = "select epoch from longshore.offsets order by topic, partition";
        Ok(client.query(query, &[])?.iter().map(|row| row.get(0)).collect())
    };
    let (mut last, mut since) = (epochs()?, Instant::now());
    wait::until("no partition changes hands", GIVE_UP_AFTER, || {
        conductor.notice()?;
        let now = epochs()?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        Ok((since.elapsed() >= AT_REST).then_some(()))
    })?;
    all_move(conductor)
}

/// Waits until something is saved in every partition that comes after what is in it now: what was
/// in hand when the fault came proves nothing.
fn all_pass_what_is_there(conductor: &mut Conductor<'_>) -> Result<()> {
    let mut client = conductor.stage().database.connect()?;
    let mut partitions = BTreeMap::new();
    for (topic, index) in offsets(&mut client)?.into_keys() {
        let count = partitions.entry(topic).or_insert(0);
        *count = index.max(*count - 1) + 1;
    }
    let mut there = Offsets::new();
    for (topic, count) in partitions {
        let ends = conductor.stage().ends(&topic, count)?;
        there.extend(ends.into_iter().map(|(index, end)| ((topic.clone(), index), end)));
    }
    wait::until("what comes after it is saved", GIVE_UP_AFTER, || {
        conductor.notice()?;
        let now = offsets(&mut client)?;
        let passed = there.iter().all(|(place, end)| now.get(place) > Some(end));
        Ok(passed.then_some(()))
    })
}

/// Waits until every partition has moved from where it stands.
fn all_move(conductor: &mut Conductor<'_>) -> Result<()> {
    let mut client = conductor.stage().database.connect()?;
    let before = offsets(&mut client)?;
    wait::until("every partition is saved", GIVE_UP_AFTER, || {
        conductor.notice()?;
        let now = offsets(&mut client)?;
        let moved = before.iter().all(|(place, offset)| now.get(place) > Some(offset));
        Ok(moved.then_some(()))
    })
}

fn offsets(client: &mut Client) -> Result<Offsets> {
    let rows = client.query("select topic, partition, next_offset from longshore.offsets", &[])?;
    Ok(rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect())
}

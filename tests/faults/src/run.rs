//! A run: servers, feed, instances, a schedule, the wait for the end, and the check.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::Subject;
use crate::check;
use crate::conduct::Conductor;
use crate::feed::{Fed, Feed, FeedPlan};
use crate::instance::Program;
use crate::measure;
use crate::report::Story;
use crate::schedule::{self, Dimensions, Step};
use crate::stage::{Size, Stage};
use crate::wait;

/// How long nothing may be settled, with all faults healed, before the run is given up.
const STALL_MAX: Duration = Duration::from_secs(90);

/// What a run is.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Draws the schedule, the records and every choice.
    pub seed: u64,
    /// How many faults.
    pub faults: usize,
    /// At least so many records.
    pub records: u64,
    /// One to three instances.
    pub instances: u32,
    /// One or three brokers.
    pub brokers: u32,
    /// Only kinds of faults whose name in the table contains this.
    pub only: String,
    /// Whether records may end the processes that work them.
    pub deaths_are_expected: bool,
    /// Whether to take the measures of [`measure`].
    pub measure: bool,
    /// Whether the logs are kept when all is well.
    pub keep: bool,
    /// The program under test.
    pub program: Program,
    /// How to run it again.
    pub again: String,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What is wrong; nothing if all is well.
    pub findings: Vec<String>,
    /// The table of faults, the measures, and what is wrong, to be printed.
    pub summary: String,
}

/// Runs `plan` on `subjects`.
///
/// # Errors
/// The harness itself could not go on, which says nothing about the program under test.
pub fn run(plan: &Plan, mut subjects: Vec<Box<dyn Subject>>) -> Result<Verdict> {
    let directory = TempDir::with_prefix(format!("longshore-faults-{}-", plan.seed))?;
    let path = directory.path().to_owned();
    println!("seed {}; logs in {}", plan.seed, path.display());
    let ran = play(plan, &mut subjects, &path);
    let is_well = ran.as_ref().is_ok_and(|verdict| verdict.findings.is_empty());
    let kept = if is_well && !plan.keep { None } else { Some(directory.keep()) };
    let verdict = ran.with_context(|| story_of(plan, kept.as_ref()))?;
    let mut summary = verdict.summary;
    if !is_well {
        summary += &story_of(plan, kept.as_ref());
    }
    Ok(Verdict { summary, ..verdict })
}

fn story_of(plan: &Plan, kept: Option<&PathBuf>) -> String {
    let logs = kept.map(|path| format!("\nlogs and schedule: {}", path.display()));
    format!("seed {}, again with: {}{}", plan.seed, plan.again, logs.unwrap_or_default())
}

fn play(
    plan: &Plan,
    subjects: &mut Vec<Box<dyn Subject>>,
    path: &std::path::Path,
) -> Result<Verdict> {
    let steps = draw(plan);
    let lines = steps.iter().map(ToString::to_string).collect::<Vec<_>>();
    fs::write(path.join("schedule.txt"), lines.join("\n"))?;
    let mut story = Story::begin(path, steps.len())?;
    story.tell(&format!(
        "{} faults in about {} s, at least {} records, {} instances, {} brokers",
        steps.len(),
        schedule::length(&steps).as_secs(),
        plan.records,
        plan.instances,
        plan.brokers
    ));
    let is_near = plan.deaths_are_expected;
    let size = Size { instances: plan.instances, brokers: plan.brokers, is_near };
    let mut stage = Stage::set(path, size, &plan.program, subjects)?;
    let feed = Feed::start(
        &stage.servers.bootstrap()?,
        std::mem::take(subjects),
        FeedPlan {
            seed: plan.seed,
            records: plan.records,
            over: schedule::length(&steps).max(Duration::from_secs(5)),
        },
    )?;
    let mut conductor = Conductor::new(&mut stage, &mut story, plan.seed, plan.deaths_are_expected);
    let fed = match perform(plan, &steps, &mut conductor, &feed) {
        Ok(()) => feed.finish()?,
        Err(error) => {
            feed.abandon();
            return Err(error);
        }
    };
    finish(&mut conductor, &fed)?;
    let findings = check::differences(&stage, &fed)?;
    findings.into_iter().for_each(|finding| story.finding(finding));
    let records = fed.iter().map(|(_, delivered)| delivered.len()).sum::<usize>();
    let verdict = if story.findings().is_empty() { "none lost, none doubled" } else { "WRONG" };
    story.tell(&format!("{records} records: {verdict}"));
    Ok(Verdict { findings: story.findings().to_vec(), summary: story.summary() })
}

fn draw(plan: &Plan) -> Vec<Step> {
    schedule::draw(
        plan.seed,
        &Dimensions {
            faults: plan.faults,
            instances: plan.instances,
            brokers: plan.brokers,
            panics: plan.program.can_panic(),
            only: &plan.only,
        },
    )
}

fn perform(plan: &Plan, steps: &[Step], conductor: &mut Conductor<'_>, feed: &Feed) -> Result<()> {
    for instance in &mut conductor.stage().instances {
        instance.start()?;
    }
    conductor.carry_out(steps, |story| {
        story.show(feed.acknowledged());
        if feed.has_failed() {
            bail!("the feed has ended");
        }
        Ok(())
    })?;
    if plan.measure {
        measure::take(conductor)?;
    }
    Ok(())
}

/// Waits until every record is settled, then lets the instances end.
fn finish(conductor: &mut Conductor<'_>, fed: &Fed) -> Result<()> {
    let all = fed.iter().map(|(_, delivered)| delivered.len() as i64).sum::<i64>();
    conductor.stage().servers.settle()?;
    conductor.story().tell(&format!("all faults are over; {all} records must be settled"));
    let mut client = conductor.stage().database.connect()?;
    let (mut best, mut since) = (-1, Instant::now());
    let settled = wait::until("all records are settled", Duration::MAX, || {
        conductor.notice()?;
        let settled = check::settled(&mut client)?;
        if settled > best {
            (best, since) = (settled, Instant::now());
        }
        Ok((settled >= all || since.elapsed() > STALL_MAX).then_some(settled))
    })?;
    if settled < all {
        let seconds = STALL_MAX.as_secs();
        conductor.story().finding(format!("stuck at {settled} of {all} records for {seconds} s"));
    }
    conductor.end_all()
}

//! Carries a schedule out: each fault in its time, each healed in its time, and whoever ends
//! without being asked is noticed and started again, as a process manager would.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;
use postgres::Client;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::instance::Exit;
use crate::proxy::Condition;
use crate::report::Story;
use crate::schedule::{Fault, Server, Step};
use crate::stage::Stage;
use crate::wait;

/// A process manager's pause before it starts again what has ended.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// How long batches pile up in an instance that is to be a zombie.
const PILE_UP: Duration = Duration::from_millis(800);
/// How long a zombie that woke up hears nothing from Kafka.
const UNAWARE: Duration = Duration::from_secs(2);
/// What a slow link lets through.
const SLOW: Condition =
    Condition::Slow { latency: Duration::from_millis(150), bytes_per_second: 128 * 1024 };

/// Carries out faults on a stage.
pub struct Conductor<'a> {
    stage: &'a mut Stage,
    story: &'a mut Story,
    rng: ChaCha8Rng,
    /// Whether records may end processes.
    deaths_are_expected: bool,
    restarts: BTreeMap<u32, Instant>,
    hog: Vec<Client>,
}

impl<'a> Conductor<'a> {
    /// A conductor of `stage` who tells what happens to `story`.
    pub fn new(
        stage: &'a mut Stage,
        story: &'a mut Story,
        seed: u64,
        deaths_are_expected: bool,
    ) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed ^ 0x636f_6e64);
        let (restarts, hog) = (BTreeMap::new(), Vec::new());
        Self { stage, story, rng, deaths_are_expected, restarts, hog }
    }

    /// The stage.
    pub fn stage(&mut self) -> &mut Stage {
        self.stage
    }

    /// The story.
    pub fn story(&mut self) -> &mut Story {
        self.story
    }

    /// Carries out a whole schedule; `look` is called now and then.
    ///
    /// # Errors
    /// A fault that cannot be made or healed, `look`'s, or an interruption.
    pub fn carry_out(
        &mut self,
        steps: &[Step],
        mut look: impl FnMut(&mut Story) -> Result<()>,
    ) -> Result<()> {
        let begins = steps.iter().map(|step| (step.at, step, true));
        let ends = steps.iter().filter(|step| !step.lasts.is_zero());
        let ends = ends.map(|step| (step.at + step.lasts, step, false));
        let mut events = begins.chain(ends).collect::<Vec<_>>();
        // What is healed at the same moment is healed first.
        events.sort_by_key(|(at, _, is_begin)| (*at, *is_begin));
        let mut clock = Duration::ZERO;
        for (at, step, is_begin) in events {
            // The schedule's clock stands still while a server starts: no fault is cut short by it.
            let pause = at.saturating_sub(std::mem::replace(&mut clock, at));
            wait::pass(pause, || self.notice().and_then(|()| look(self.story)))?;
            if is_begin {
                self.story.begins(step);
                self.begin(&step.fault)?;
            } else {
                self.story.heals(step);
                self.heal(&step.fault)?;
            }
        }
        Ok(())
    }

    /// Makes a fault.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn begin(&mut self, fault: &Fault) -> Result<()> {
        match *fault {
            Fault::Kill(n) => self.stage.instance(n)?.kill(),
            Fault::Freeze(n) => self.stage.instance(n)?.freeze(),
            Fault::Zombie(n) => self.make_zombie(n),
            Fault::Hang(n) => {
                self.pile_up(n)?;
                self.stage.instance(n)?.hang_consumers()
            }
            Fault::Leave(n) => self.stage.instance(n)?.terminate(),
            Fault::Storm(rounds) => self.storm(rounds),
            Fault::BrokerStop(broker) => self.stage.servers.stop_broker(broker),
            Fault::BrokerKill(broker) => self.stage.servers.kill_broker(broker),
            Fault::DatabaseStop(how) => self.stage.servers.stop_database(how),
            Fault::Backends(one_in) => {
                self.stage.database.terminate_backends(one_in as usize, &mut self.rng)?;
                Ok(())
            }
            Fault::ReadOnly => self.stage.database.set_read_only(true),
            Fault::Connections => {
                self.hog = self.stage.database.exhaust_connections(&mut self.rng)?;
                Ok(())
            }
            Fault::Cut(n, to) => self.set_link(n, to, Condition::Cut),
            Fault::BlackHole(n, to) => self.set_link(n, to, Condition::BlackHole),
            Fault::Slow(n, to) => self.set_link(n, to, SLOW),
            Fault::Panic(n, what) => {
                let file = self.stage.instance(n)?.faults().join(format!("panic.{what}"));
                Ok(fs::write(file, "")?)
            }
        }
    }

    /// Heals a fault.
    ///
    /// # Errors
    /// It cannot be healed.
    pub fn heal(&mut self, fault: &Fault) -> Result<()> {
        match *fault {
            Fault::Kill(n) => self.start(n),
            Fault::Freeze(n) => self.stage.instance(n)?.thaw(),
            Fault::Zombie(n) => self.wake_zombie(n),
            Fault::Hang(n) => {
                self.stage.heal_link(n, Server::Database);
                // It has not heard of anything yet, and saves what it has in hand.
                wait::pass(UNAWARE, || self.notice())?;
                self.stage.instance(n)?.release_consumers();
                Ok(())
            }
            Fault::Leave(n) => self.end_and_start(n),
            Fault::Storm(_) | Fault::Backends(_) => Ok(()),
            Fault::BrokerStop(broker) | Fault::BrokerKill(broker) => {
                self.stage.servers.start_broker(broker)
            }
            Fault::DatabaseStop(_) => self.stage.servers.start_database(),
            Fault::ReadOnly => self.stage.database.set_read_only(false),
            Fault::Connections => {
                self.hog.clear();
                Ok(())
            }
            Fault::Cut(n, to) | Fault::BlackHole(n, to) | Fault::Slow(n, to) => {
                self.stage.heal_link(n, to);
                Ok(())
            }
            Fault::Panic(n, what) => {
                let file = self.stage.instance(n)?.faults().join(format!("panic.{what}"));
                // Still there: no such message came meanwhile.
                if fs::remove_file(file).is_ok() {
                    self.story.not_met(fault);
                }
                Ok(())
            }
        }
    }

    /// Notices instances that ended without being asked, and starts them again after a while.
    ///
    /// # Errors
    /// One cannot be started.
    pub fn notice(&mut self) -> Result<()> {
        for instance in &mut self.stage.instances {
            let Some(exit) = instance.notice()? else { continue };
            self.restarts.insert(exit.instance, Instant::now() + RESTART_AFTER);
            self.judge(&exit);
            break;
        }
        let due = self.restarts.iter().find(|(_, at)| **at <= Instant::now());
        if let Some(number) = due.map(|(number, _)| *number) {
            self.start(number)?;
        }
        Ok(())
    }

    /// Asks all instances to end, and waits for it.
    ///
    /// # Errors
    /// The harness was interrupted.
    pub fn end_all(&mut self) -> Result<()> {
        for instance in &mut self.stage.instances {
            instance.terminate()?;
        }
        for instance in &mut self.stage.instances {
            if let Some(story) = instance.await_end()? {
                self.story.finding(format!("instance {}: {story}", instance.number()));
            }
        }
        Ok(())
    }

    fn judge(&mut self, exit: &Exit) {
        if self.deaths_are_expected && exit.is_abort() {
            self.story.death(exit);
        } else {
            self.story.finding(format!(
                "instance {} ended without being asked: {}\n{}",
                exit.instance, exit.status, exit.last_lines
            ));
        }
    }

    fn start(&mut self, number: u32) -> Result<()> {
        self.restarts.remove(&number);
        self.stage.instance(number)?.start()
    }

    fn end_and_start(&mut self, number: u32) -> Result<()> {
        let instance = self.stage.instance(number)?;
        if let Some(story) = instance.await_end()? {
            self.story.finding(format!("instance {number}: {story}"));
        }
        self.start(number)
    }

    fn storm(&mut self, rounds: u32) -> Result<()> {
        let last = self.stage.instances.len() as u32;
        for _ in 0..rounds {
            for number in 2..=last {
                self.stage.instance(number)?.terminate()?;
                self.end_and_start(number)?;
            }
        }
        Ok(())
    }

    /// Leaves an instance with batches in hand, and no transaction.
    fn pile_up(&mut self, number: u32) -> Result<()> {
        self.stage.set_link(number, Server::Database, Condition::Cut);
        wait::pass(PILE_UP, || self.notice())
    }

    fn make_zombie(&mut self, number: u32) -> Result<()> {
        self.pile_up(number)?;
        self.stage.instance(number)?.freeze()?;
        // Without any latency: it is a race against the client's own clock, which ends the session.
        self.set_link(number, Server::Database, Condition::Healthy)?;
        self.set_link(number, Server::Kafka, Condition::BlackHole)
    }

    /// Lets it go on before Kafka can tell it that its partitions are another's: it saves what it
    /// has in hand, if nothing else holds it back.
    fn wake_zombie(&mut self, number: u32) -> Result<()> {
        self.stage.instance(number)?.thaw()?;
        wait::pass(UNAWARE, || self.notice())?;
        self.stage.heal_link(number, Server::Kafka);
        self.stage.heal_link(number, Server::Database);
        Ok(())
    }

    fn set_link(&self, instance: u32, to: Server, condition: Condition) -> Result<()> {
        self.stage.set_link(instance, to, condition);
        Ok(())
    }
}

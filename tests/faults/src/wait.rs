//! Waiting for a condition with a deadline, the pauses of a schedule, and interruptions. The only
//! place of the harness that sleeps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whether Ctrl-C or SIGTERM has come. One for the process, as signals are.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Ends all waiting of this process soon.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Ends with an error if the harness was interrupted.
///
/// # Errors
/// It was.
pub fn go_on() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Waits until `look` gives something.
///
/// # Errors
/// Nothing came before `deadline`, `look` failed, or the harness was interrupted.
pub fn until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        go_on()?;
        if begun.elapsed() > deadline {
            bail!("waited {} s in vain until {what}", deadline.as_secs());
        }
        sleep(LOOK_EVERY);
    }
}

/// Lets time pass, as a schedule says, while `look` is called now and then.
///
/// # Errors
/// `look` failed, or the harness was interrupted.
pub fn pass(time: Duration, mut look: impl FnMut() -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    loop {
        look()?;
        go_on()?;
        let left = time.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        sleep(left.min(LOOK_EVERY));
    }
}

/// The pause between two looks of somebody who paces others.
pub fn tick() {
    sleep(LOOK_EVERY);
}

#[expect(clippy::disallowed_methods, reason = "between two looks at a condition with a deadline")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

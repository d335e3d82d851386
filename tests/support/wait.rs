//! Waiting for a condition, with a deadline. The only place of the tests that sleeps.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The deadline of everything that should take seconds. Long, because the machine may be busy: it
/// is only ever reached by a failure.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// Waits until `condition` holds; panics after [`LONG`] with what was waited for.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_some(what, LONG, || condition().then_some(()));
}

/// Waits until `look` gives something, and gives that; panics after `deadline`.
pub(crate) fn until_some<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < deadline, "waited {deadline:?} in vain until {what}");
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "between two looks at a condition with a deadline")]
fn pause() {
    std::thread::sleep(LOOK_EVERY);
}

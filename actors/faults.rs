//! Faults to order, for tests of the promises (feature `faults`): panics at any message of any
//! actor, and deliberate bugs that a harness must find. Without the feature nothing of it is there.
//!
//! Ordered from outside through the directory that `LONGSHORE_FAULTS` names: a file
//! `panic.ACTOR.MESSAGE` makes the next such handler remove it and panic, a file
//! `hang.ACTOR.MESSAGE` blocks every such handler while it is there. `LONGSHORE_BUG` names one
//! deliberate bug for the whole life of the process.

#[cfg(feature = "faults")]
mod ordered {
    use std::cell::RefCell;
    use std::path::PathBuf;
    use std::sync::OnceLock;

    static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();
    static BUG: OnceLock<Option<String>> = OnceLock::new();

    /// A panic that was ordered: actor, message, and how many such messages go by before.
    type Order = (&'static str, &'static str, u32);

    thread_local! {
        static ORDERS: RefCell<Vec<Order>> = const { RefCell::new(Vec::new()) };
        static BUGS: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    }

    /// Orders a panic of `actor` at `message`, on this thread, after `before` such messages.
    pub fn order_panic(actor: &'static str, message: &'static str, before: u32) {
        ORDERS.with_borrow_mut(|orders| orders.push((actor, message, before)));
    }

    /// Turns a deliberate bug on, on this thread.
    pub fn order_bug(name: &'static str) {
        BUGS.with_borrow_mut(|bugs| bugs.push(name));
    }

    /// Withdraws all orders that were not carried out yet, and turns bugs off, on this thread.
    pub fn withdraw() {
        ORDERS.with_borrow_mut(Vec::clear);
        BUGS.with_borrow_mut(Vec::clear);
    }

    /// Panics here if that was ordered.
    ///
    /// # Panics
    /// That is its task.
    pub fn point(actor: &str, message: &str) {
        hang(actor, message);
        let (here, outside) = (is_ordered_here(actor, message), is_ordered_outside(actor, message));
        assert!(!here && !outside, "a panic was ordered for {actor} at {message}");
    }

    fn is_ordered_here(actor: &str, message: &str) -> bool {
        ORDERS.with_borrow_mut(|orders| {
            let place = orders.iter().position(|(a, m, _)| *a == actor && *m == message);
            let Some(place) = place else { return false };
            let before = &mut orders[place].2;
            if *before > 0 {
                *before -= 1;
                return false;
            }
            orders.remove(place);
            true
        })
    }

    /// The directory that orders come through.
    fn directory() -> Option<&'static PathBuf> {
        DIRECTORY.get_or_init(|| std::env::var_os("LONGSHORE_FAULTS").map(Into::into)).as_ref()
    }

    /// Blocks the thread for as long as that is ordered.
    #[expect(clippy::disallowed_methods, reason = "a thread that hangs is what was ordered")]
    fn hang(actor: &str, message: &str) {
        let Some(directory) = directory() else { return };
        let order = directory.join(format!("hang.{actor}.{message}"));
        while order.exists() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn is_ordered_outside(actor: &str, message: &str) -> bool {
        let Some(directory) = directory() else { return false };
        // Whoever removes the file has the order: no two handlers follow one.
        std::fs::remove_file(directory.join(format!("panic.{actor}.{message}"))).is_ok()
    }

    /// Whether the deliberate bug `name` is on.
    #[expect(clippy::disallowed_methods, reason = "no user's program has this feature")]
    pub fn bug(name: &str) -> bool {
        BUG.get_or_init(|| std::env::var("LONGSHORE_BUG").ok()).as_deref() == Some(name)
            || BUGS.with_borrow(|bugs| bugs.contains(&name))
    }
}

#[cfg(feature = "faults")]
pub use ordered::{bug, order_bug, order_panic, point, withdraw};

/// Does nothing without the feature.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn point(_actor: &str, _message: &str) {}

/// No bug is on without the feature.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub const fn bug(_name: &str) -> bool {
    false
}

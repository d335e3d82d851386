//! The last of what a feed has sent, to repeat some.

use rand::Rng;
use rand::rngs::StdRng;

/// How many are remembered.
const REMEMBERED_MAX: usize = 8192;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Remembered<T> {
    pub(super) all: Vec<T>,
    next: usize,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self { all: Vec::new(), next: 0 }
    }
}

impl<T> Remembered<T> {
    /// Takes one in, in the place of the oldest if there are enough.
    pub(super) fn push(&mut self, one: T) {
        if self.all.len() < REMEMBERED_MAX {
            self.all.push(one);
        } else {
            self.all[self.next] = one;
            self.next = (self.next + 1) % REMEMBERED_MAX;
        }
    }

    /// The place of any of them.
    pub(super) fn draw(&self, rng: &mut StdRng) -> Option<usize> {
        (!self.all.is_empty()).then(|| rng.random_range(0..self.all.len()))
    }

    /// Gives one away.
    pub(super) fn take(&mut self) -> Option<T> {
        let taken = self.all.pop();
        self.next = 0;
        taken
    }
}

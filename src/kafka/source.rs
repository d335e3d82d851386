//! The channel between the house and the consumer thread: the house asks to seek and to stop, the
//! thread takes what was asked between two reads.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore_actors::fence::Fence;
use longshore_actors::ports::{Source, StopReason};
use longshore_actors::record::NextOffset;

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Read this assignment from `position` on.
    Seek { fence: Arc<Fence>, position: NextOffset, seek: u64 },
    /// Read this assignment no more.
    Stop { fence: Arc<Fence>, reason: StopReason },
    /// The actor behind this assignment is gone: open a new door.
    Reopen { fence: Arc<Fence> },
    /// Read nothing more, wait until the house is empty or the limit is over, and close.
    Drain { limit: Duration },
}

/// The consumer thread, as the house sees it: a [`Source`] that exists before its thread does, and
/// that outlives it.
#[derive(Debug)]
pub struct ThreadSource {
    commands: Mutex<Sender<Command>>,
}

/// The thread's end of the channel, to be given to [`super::ConsumerThread::spawn`].
#[derive(Debug)]
pub struct Commands {
    pub(super) sender: Sender<Command>,
    pub(super) receiver: Receiver<Command>,
}

impl ThreadSource {
    /// A source for the house, and the other end for the thread.
    pub fn channel() -> (Arc<Self>, Commands) {
        let (sender, receiver) = mpsc::channel();
        let source = Arc::new(Self { commands: Mutex::new(sender.clone()) });
        (source, Commands { sender, receiver })
    }

    /// The other end for another thread, in the place of one that ended or hangs: whoever has the
    /// old end hears nothing more.
    pub fn renew(&self) -> Commands {
        let (sender, receiver) = mpsc::channel();
        *self.commands.lock().unwrap_or_else(PoisonError::into_inner) = sender.clone();
        Commands { sender, receiver }
    }

    fn send(&self, command: Command) {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        // A thread that is gone let go of its partitions before: nobody waits for this.
        let _ = commands.send(command);
    }
}

impl Source for ThreadSource {
    fn seek(&self, fence: &Arc<Fence>, position: NextOffset) {
        let seek = fence.begin_seek();
        self.send(Command::Seek { fence: fence.clone(), position, seek });
    }

    fn stop(&self, fence: &Arc<Fence>, reason: StopReason) {
        fence.counts().note_stop(&reason);
        self.send(Command::Stop { fence: fence.clone(), reason });
    }

    fn reopen(&self, fence: &Arc<Fence>) {
        self.send(Command::Reopen { fence: fence.clone() });
    }
}

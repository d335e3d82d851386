//! SIGTERM and SIGINT: the first one drains, a second one ends the process at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The two signals that stop a service.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Listens from now on; the process is not ended by these signals any more.
    ///
    /// # Errors
    /// The operating system refuses it.
    pub fn listen() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one; gives its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Runs `draining` to its end, unless a second signal comes: that ends the process, which
    /// loses nothing, as what is not saved is read again.
    pub async fn or_exit<T>(&mut self, draining: impl Future<Output = T>) -> T {
        tokio::select! {
            drained = draining => drained,
            name = self.next() => {
                tracing::warn!(signal = name, "ended at once by a second signal");
                std::process::exit(1);
            }
        }
    }
}

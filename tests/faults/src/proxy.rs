//! A TCP proxy whose links can be cut, black-holed, slowed and healed. On 127.0.0.1 only.
//!
//! A black hole is what dropped packets are: connections are still accepted by the kernel, what is
//! sent into them vanishes, nobody is told. What was on its way is held and arrives when the link
//! is healed, as TCP would send it again: a COMMIT may reach the server long after its sender has
//! given up. A connection that one end has closed meanwhile is closed at the other end only then.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// What is read at a time.
const PIECE_BYTES: usize = 16 * 1024;
/// Pieces on their way in one direction: with the kernel's buffers, what the link itself holds.
const PIECES_MAX: usize = 16;

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Everything passes.
    Healthy,
    /// Connections are reset, new ones at once.
    Cut,
    /// Nothing passes, and nobody is told.
    BlackHole,
    /// Everything passes, late and so much at a time.
    Slow {
        /// How much later each way.
        latency: Duration,
        /// How many bytes pass in a second, in each direction of each connection.
        bytes_per_second: u32,
    },
}

/// Where all links run.
pub struct Proxy {
    runtime: Runtime,
}

impl Proxy {
    /// A proxy without links.
    ///
    /// # Errors
    /// A thread cannot be had.
    pub fn start() -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { runtime })
    }

    /// A new link, whose target is set later: brokers must know its address before they start.
    ///
    /// # Errors
    /// No port is free.
    pub fn link(&self) -> Result<Link> {
        let listener = self.runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let (condition, watched) = watch::channel(Condition::Healthy);
        let target = Target::default();
        self.runtime.spawn(accept(listener, target.clone(), watched));
        Ok(Link { address, condition, target })
    }
}

type Target = Arc<Mutex<Option<SocketAddr>>>;

/// A way from one client to one server.
pub struct Link {
    address: SocketAddr,
    condition: watch::Sender<Condition>,
    target: Target,
}

impl Link {
    /// Where the client connects to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets where connections lead from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = Some(target);
    }

    /// Makes the link so, for old connections and new ones.
    pub fn set(&self, condition: Condition) {
        self.condition.send_replace(condition);
    }
}

async fn accept(listener: TcpListener, target: Target, watched: watch::Receiver<Condition>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let target = *target.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::spawn(connection(client, target, watched.clone()));
    }
}

async fn connection(
    mut client: TcpStream,
    target: Option<SocketAddr>,
    mut watched: watch::Receiver<Condition>,
) {
    let server = connect(target, watched.clone());
    let begun = tokio::select! {
        _ = watched.wait_for(|condition| *condition == Condition::Cut) => None,
        server = server => server.ok(),
    };
    let Some(mut server) = begun else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let is_cut = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let up = pump(from_client, to_server, watched.clone());
        let down = pump(from_server, to_client, watched.clone());
        let both = async { tokio::join!(up, down) };
        tokio::select! {
            _ = watched.wait_for(|condition| *condition == Condition::Cut) => true,
            _ = both => false,
        }
    };
    if is_cut {
        // Closed so, both ends see a reset.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

async fn connect(
    target: Option<SocketAddr>,
    mut watched: watch::Receiver<Condition>,
) -> io::Result<TcpStream> {
    passable(&mut watched).await;
    let target = target.ok_or(io::ErrorKind::NotConnected)?;
    TcpStream::connect(target).await
}

/// Waits while the link is a black hole.
async fn passable(watched: &mut watch::Receiver<Condition>) {
    // The sender is gone only with the whole link.
    let _ = watched.wait_for(|condition| *condition != Condition::BlackHole).await;
}

/// One direction, until its end or an error.
async fn pump(from: ReadHalf<'_>, to: WriteHalf<'_>, watched: watch::Receiver<Condition>) {
    let (pieces, arriving) = mpsc::channel(PIECES_MAX);
    tokio::join!(take_in(from, pieces, watched.clone()), hand_out(to, arriving, watched));
}

/// Bytes, and when they were read.
type Piece = (Instant, Vec<u8>);

async fn take_in(
    mut from: ReadHalf<'_>,
    pieces: mpsc::Sender<Piece>,
    mut watched: watch::Receiver<Condition>,
) {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        passable(&mut watched).await;
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => {
                let piece = (Instant::now(), buffer[..length].to_vec());
                if pieces.send(piece).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn hand_out(
    mut to: WriteHalf<'_>,
    mut arriving: mpsc::Receiver<Piece>,
    mut watched: watch::Receiver<Condition>,
) {
    while let Some((read_at, piece)) = arriving.recv().await {
        let condition = *watched.borrow();
        if let Condition::Slow { latency, bytes_per_second } = condition {
            sleep_until(read_at + latency).await;
            sleep(Duration::from_secs_f64(piece.len() as f64 / f64::from(bytes_per_second))).await;
        }
        passable(&mut watched).await;
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
    passable(&mut watched).await;
    let _ = to.shutdown().await;
}

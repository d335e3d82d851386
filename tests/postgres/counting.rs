//! Counts the statements of a store as they go over the wire: a proxy before the server that knows
//! just enough of the protocol. Parsing and binding are part of the execution that they are for; a
//! simple query counts as one, however many commands are in it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

use longshore::postgres::connect::ConnectOptions;
use tokio_postgres::config::Host;

/// Requests without a type byte: only one of this code is followed by typed messages.
const PROTOCOL_3: u32 = 3 << 16;

/// The way to a server on which statements are counted.
pub(crate) struct Counted {
    /// Where to connect.
    pub(crate) options: ConnectOptions,
    statements: Arc<AtomicU64>,
}

impl Counted {
    /// A way to where `options` leads.
    pub(crate) fn before(options: &ConnectOptions) -> Self {
        let config = options.config();
        let [Host::Tcp(host)] = config.get_hosts() else { panic!("a server by TCP is needed") };
        let server = format!("{host}:{}", config.get_ports().first().copied().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let password = config.get_password().map(|p| format!(":{}", String::from_utf8_lossy(p)));
        let url = format!(
            "postgres://{}{}@{}/{}?sslmode=disable",
            config.get_user().unwrap_or_default(),
            password.unwrap_or_default(),
            listener.local_addr().unwrap(),
            config.get_dbname().unwrap_or_default(),
        );
        let statements = Arc::new(AtomicU64::new(0));
        let counter = statements.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (server, counter) = (TcpStream::connect(&server).unwrap(), counter.clone());
                let (answers, to_client) = (server.try_clone(), client.try_clone());
                thread::spawn(move || pass_on(client, server, &mut Reader::new(&counter)));
                let (answers, to_client) = (answers.unwrap(), to_client.unwrap());
                answers.set_nodelay(true).unwrap();
                to_client.set_nodelay(true).unwrap();
                thread::spawn(move || pass_on(answers, to_client, &mut Nobody));
            }
        });
        Self { options: ConnectOptions::try_new(&url, None).unwrap(), statements }
    }

    /// Statements since the last call.
    pub(crate) fn take(&self) -> u64 {
        self.statements.swap(0, SeqCst)
    }
}

/// Hears what passes.
trait Listen {
    fn hear(&mut self, bytes: &[u8]);
}

struct Nobody;

impl Listen for Nobody {
    fn hear(&mut self, _: &[u8]) {}
}

/// Reads the client's side of the protocol.
struct Reader<'a> {
    statements: &'a AtomicU64,
    /// Whether messages have a type by now.
    is_typed: bool,
    head: Vec<u8>,
    /// Bytes of the message under way that are still to come.
    left: usize,
}

impl<'a> Reader<'a> {
    fn new(statements: &'a AtomicU64) -> Self {
        Self { statements, is_typed: false, head: Vec::new(), left: 0 }
    }

    fn begins(&mut self) {
        let (kind, rest) = match self.is_typed {
            true => (Some(self.head[0]), &self.head[1..]),
            false => (None, &self.head[..]),
        };
        let word = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().unwrap());
        let length = word(0) as usize;
        match kind {
            Some(b'Q' | b'E') => {
                self.statements.fetch_add(1, SeqCst);
            }
            None => self.is_typed = word(4) == PROTOCOL_3,
            _ => {}
        }
        // The length counts itself, and of an untyped message the code was read too.
        self.left = length - if kind.is_some() { 4 } else { 8 };
        self.head.clear();
    }
}

impl Listen for Reader<'_> {
    fn hear(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let within = self.left.min(bytes.len());
            (self.left, bytes) = (self.left - within, &bytes[within..]);
            let head = if self.is_typed { 5 } else { 8 };
            if let Some((byte, rest)) = bytes.split_first() {
                self.head.push(*byte);
                bytes = rest;
            }
            if self.head.len() == head {
                self.begins();
            }
        }
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, listener: &mut impl Listen) {
    let mut piece = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        listener.hear(&piece[..read]);
        if to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    // Whoever is gone already need not be told.
    let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
}

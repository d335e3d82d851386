//! A link of the proxy does what its condition says, to connections that stand and to new ones.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use longshore_faults::proxy::{Condition, Link, Proxy};

/// How long to look for bytes that must not come.
const A_WHILE: Duration = Duration::from_millis(200);
/// How long to wait for those that must.
const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_healthy_link_carries_bytes_both_ways_and_the_end() {
    let (_proxy, link) = linked();
    let mut client = connect(&link);
    assert_eq!(echoed(&mut client, b"there and back").expect("an echo"), b"there and back");
    client.shutdown(std::net::Shutdown::Write).expect("an end");
    assert_eq!(client.read(&mut [0; 8]).expect("the end comes back"), 0);
}

#[test]
fn a_cut_link_resets_what_stands_and_what_comes() {
    let (_proxy, link) = linked();
    let mut standing = connect(&link);
    echoed(&mut standing, b"before").expect("an echo");
    link.set(Condition::Cut);
    assert_eq!(kind(standing.read(&mut [0; 8])), ErrorKind::ConnectionReset);
    let mut fresh = connect(&link);
    assert_eq!(kind(fresh.read(&mut [0; 8])), ErrorKind::ConnectionReset);
    link.set(Condition::Healthy);
    assert_eq!(echoed(&mut connect(&link), b"after").expect("an echo"), b"after");
}

#[test]
fn a_black_hole_swallows_silently_and_gives_back_when_it_is_healed() {
    let (_proxy, link) = linked();
    let mut standing = connect(&link);
    echoed(&mut standing, b"before").expect("an echo");
    link.set(Condition::BlackHole);
    let mut fresh = connect(&link);
    for client in [&mut standing, &mut fresh] {
        client.set_read_timeout(Some(A_WHILE)).expect("a timeout");
        client.write_all(b"hello?").expect("nobody is told");
        assert_eq!(kind(client.read(&mut [0; 8])), ErrorKind::WouldBlock);
        client.set_read_timeout(Some(LONG)).expect("a timeout");
    }
    link.set(Condition::Healthy);
    for client in [&mut standing, &mut fresh] {
        let mut back = [0; 6];
        client.read_exact(&mut back).expect("what was on its way arrives");
        assert_eq!(&back, b"hello?");
    }
}

#[test]
fn a_slow_link_is_late() {
    let (_proxy, link) = linked();
    let mut client = connect(&link);
    let latency = Duration::from_millis(50);
    link.set(Condition::Slow { latency, bytes_per_second: 10_000 });
    let begun = Instant::now();
    assert_eq!(echoed(&mut client, &[7; 1000]).expect("an echo"), [7; 1000]);
    // Twice the latency, and twice 1,000 bytes at 10,000 a second.
    assert!(begun.elapsed() >= 2 * (latency + Duration::from_millis(100)));
}

/// A link to a server that sends back what it gets.
fn linked() -> (Proxy, Link) {
    let proxy = Proxy::start().expect("a proxy");
    let link = proxy.link().expect("a link");
    link.lead_to(echo());
    (proxy, link)
}

fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.expect("a connection");
                let mut back = stream.try_clone().expect("its other half");
                let _ = std::io::copy(&mut stream, &mut back);
            });
        }
    });
    address
}

fn connect(link: &Link) -> TcpStream {
    let stream = TcpStream::connect(link.address()).expect("a connection");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    stream
}

fn echoed(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(bytes)?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back)?;
    Ok(back)
}

fn kind(answer: std::io::Result<usize>) -> ErrorKind {
    answer.expect_err("an error").kind()
}

//! Asks a running service by HTTP, as a probe, a scraper or a browser would.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::service::Process;
use super::wait;

/// A probe that waits longer than this calls the service dead.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The reasons of a health answer.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let reasons = self.json()["reasons"].as_array().expect("reasons").clone();
        reasons.iter().map(|reason| reason.as_str().expect("a reason in words").into()).collect()
    }

    /// Whether one of the reasons of a health answer has all of these words.
    pub(crate) fn says(&self, words: &[&str]) -> bool {
        self.reasons().iter().any(|reason| words.iter().all(|word| reason.contains(word)))
    }
}

/// The HTTP side of one process.
#[derive(Clone, Debug)]
pub(crate) struct Http(String);

impl Http {
    /// Of `process`, as soon as it says where it listens.
    pub(crate) fn of(process: &mut Process) -> Self {
        let line = process.says_line("page, health and metrics are served");
        let (_, address) = line.rsplit_once("address=").expect("an address");
        Self(address.trim().to_owned())
    }

    /// GET `path`.
    pub(crate) fn get(&self, path: &str) -> Answer {
        let mut connection = TcpStream::connect(&self.0).expect("somebody listens");
        connection.set_read_timeout(Some(ANSWER_WITHIN)).expect("a timeout");
        let host = &self.0;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).expect("the request is sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer in time");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn live(&self) -> Answer {
        self.get("/health/live")
    }

    pub(crate) fn ready(&self) -> Answer {
        self.get("/health/ready")
    }

    /// Waits until the service is ready.
    pub(crate) fn await_ready(&self) {
        wait::until("the service is ready", || self.ready().status == 200);
    }

    /// Waits until the service is not ready for a reason with all of these words; it must be live.
    pub(crate) fn await_reason(&self, words: &[&str]) {
        wait::until(&format!("the service is not ready: {words:?}"), || {
            let (live, ready) = (self.live(), self.ready());
            assert_eq!(live.status, 200, "not live: {}", live.body);
            ready.status == 503 && ready.says(words)
        });
    }

    /// All series now.
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics").body)
    }
}

/// The labels of one series.
pub(crate) type Labels = BTreeMap<String, String>;

/// The series of one scrape.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Name, labels, value.
    pub(crate) series: Vec<(String, Labels, f64)>,
    /// The type of each metric, by name.
    pub(crate) types: BTreeMap<String, String>,
}

impl Metrics {
    fn parse(text: &str) -> Self {
        let mut metrics = Self { series: Vec::new(), types: BTreeMap::new() };
        for line in text.lines().filter(|line| !line.is_empty()) {
            match line.strip_prefix("# TYPE ") {
                Some(typed) => {
                    let (name, kind) = typed.split_once(' ').expect("name and type");
                    let twice = metrics.types.insert(name.to_owned(), kind.to_owned());
                    assert_eq!(twice, None, "{name} is described twice");
                }
                None if line.starts_with('#') => {}
                None => metrics.series.push(series(line)),
            }
        }
        metrics
    }

    /// The values of `name` by their labels.
    pub(crate) fn of(&self, name: &str) -> BTreeMap<Labels, f64> {
        let named = self.series.iter().filter(|(other, ..)| other == name);
        named.map(|(_, labels, value)| (labels.clone(), *value)).collect()
    }

    /// The sum of all series of `name` that have this label.
    pub(crate) fn sum(&self, name: &str, label: &str, value: &str) -> f64 {
        let all = self.of(name).into_iter();
        let with = all.filter(|(labels, _)| labels.get(label).is_some_and(|v| v == value));
        with.map(|(_, value)| value).sum()
    }
}

fn series(line: &str) -> (String, Labels, f64) {
    let (series, value) = line.rsplit_once(' ').expect("a series and its value");
    let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
    let Some((name, labels)) = series.split_once('{') else {
        return (series.to_owned(), Labels::new(), value);
    };
    // No label of ours has a comma in it.
    let labels = labels.trim_end_matches('}').split(',').map(|label| {
        let (name, text) = label.split_once('=').expect("a label");
        (name.to_owned(), text.trim_matches('"').to_owned())
    });
    (name.to_owned(), labels.collect(), value)
}

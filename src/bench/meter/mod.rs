//! What a run costs: CPU of the service by stage, of the database's sessions and of the broker, and
//! peak memory. All of it is read from Linux' `/proc`: for servers elsewhere, nothing is measured.

mod broker;
mod process;
mod server;

use std::collections::BTreeMap;

pub(super) use self::broker::BrokerMeter;
use self::process::STAGES;
pub(super) use self::process::{ProcessMeter, own_cpu_seconds};
pub(super) use self::server::ServerMeter;
use serde::Serialize;

/// CPU seconds that a run took; `None`: not measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Cpu {
    /// The program that writes: the service, or the bench itself for a bare way.
    pub(crate) own: Option<f64>,
    /// The service's, by the stage that its threads belong to.
    pub(crate) stages: BTreeMap<String, f64>,
    /// The database's sessions of this run, and the server's own processes.
    pub(crate) server: Option<f64>,
    /// The broker's.
    pub(crate) broker: Option<f64>,
    /// The bench's own beside the service: looking at the offsets, and feeding if it feeds.
    pub(crate) bench: Option<f64>,
}

impl Cpu {
    /// The stages in the order of the way of a record.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (&str, f64)> {
        let known = STAGES.iter().filter_map(|name| self.stages.get_key_value(*name));
        known.map(|(name, cpu)| (name.as_str(), *cpu))
    }

    /// The same for a million records, given that it was for `records`.
    pub(crate) fn per_million(&self, records: u64) -> Self {
        let of = |cpu: f64| cpu * 1e6 / (records.max(1) as f64);
        Self {
            own: self.own.map(of),
            stages: self.stages.iter().map(|(stage, cpu)| (stage.clone(), of(*cpu))).collect(),
            server: self.server.map(of),
            broker: self.broker.map(of),
            bench: self.bench.map(of),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cpu;

    #[test]
    fn cpu_is_reckoned_for_a_million_records() {
        let stages = [("work".to_owned(), 0.1)].into();
        let cpu = Cpu { own: Some(0.5), stages, server: None, broker: Some(0.0), bench: None };
        let cpu = cpu.per_million(250_000);
        assert_eq!((cpu.own, cpu.server, cpu.broker), (Some(2.0), None, Some(0.0)));
        assert!((cpu.stages["work"] - 0.4).abs() < 1e-9);
    }
}

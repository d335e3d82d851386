//! The findings for a person at a terminal.

use std::fmt;

use indicatif::{HumanBytes, HumanCount};

use super::findings::{Findings, Latency, Median, Point, Who};
use super::growth::Growth;

/// What stands where nothing could be measured.
const UNKNOWN: &str = "-";

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        let processor = machine.processor.as_deref().unwrap_or("an unknown processor");
        writeln!(f, "{} on {} cores, {processor}; {}", self.bench, machine.cores, machine.servers)?;
        for point in &self.points {
            writeln!(f)?;
            write_point(f, point)?;
        }
        if self.scale.is_some() {
            writeln!(f)?;
            write!(f, "{}", Growth(self))?;
        }
        if let Some(latency) = &self.latency {
            writeln!(f)?;
            write_latency(f, latency)?;
        }
        writeln!(f)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

fn write_point(f: &mut fmt::Formatter<'_>, point: &Point) -> fmt::Result {
    let case = &point.case;
    let connections = case.connections;
    writeln!(
        f,
        "{} records of {:.0} bytes, {} partitions, {connections} saving connection{}",
        HumanCount(case.records),
        point.value_bytes,
        case.partitions,
        if connections == 1 { "" } else { "s" },
    )?;
    writeln!(
        f,
        "{:<22} {:>10} {:>21} {:>9} {:>9} {:>9} {:>10}",
        "median", "records/s", "slowest .. fastest", "own s/M", "server", "broker", "peak"
    )?;
    for (who, median) in &point.medians {
        write_median(f, who.name(), median)?;
    }
    if let Some(ratio) = point.ratio_to_limit {
        writeln!(f, "{:<22} {ratio:>10.2}", "ratio to the limit")?;
    }
    if let Some(rate) = point.steady_rate() {
        let rate = HumanCount(rate.round() as u64).to_string();
        writeln!(f, "{:<22} {rate:>10}", "first to last commit")?;
    }
    if let Some(seconds) = point.first_commit() {
        writeln!(f, "{:<22} {:>7.0} ms", "first commit after", seconds * 1e3)?;
    }
    if let Some(floor) = point.serial_floor_seconds {
        let seconds = point.runs.iter().filter(|run| run.who == Who::Service).map(|r| r.seconds);
        let took = super::findings::median(seconds.collect()).unwrap_or(f64::NAN);
        writeln!(
            f,
            "the hottest key alone takes {floor:.1} s one after the other; all took {took:.1} s"
        )?;
    }
    let Some(service) = point.medians.get(&Who::Service) else { return Ok(()) };
    let stages = service.cpu_seconds_per_million.in_order();
    for (stage, cpu) in stages.filter(|(_, cpu)| *cpu >= 0.005) {
        writeln!(f, "  {stage:<31} {:>22} {cpu:>9.2}", "")?;
    }
    Ok(())
}

fn write_median(f: &mut fmt::Formatter<'_>, name: &str, median: &Median) -> fmt::Result {
    let cpu = &median.cpu_seconds_per_million;
    let seconds = |cpu: Option<f64>| cpu.map_or(UNKNOWN.to_owned(), |cpu| format!("{cpu:.2}"));
    let rate = |rate: f64| HumanCount(rate.round() as u64).to_string();
    let peak = median.peak_memory_bytes.map_or(UNKNOWN.to_owned(), |b| HumanBytes(b).to_string());
    writeln!(
        f,
        "{name:<22} {:>10} {:>21} {:>9} {:>9} {:>9} {peak:>10}",
        rate(median.records_per_second),
        format!("{} .. {}", rate(median.range.0), rate(median.range.1)),
        seconds(cpu.own),
        seconds(cpu.server),
        seconds(cpu.broker),
    )
}

fn write_latency(f: &mut fmt::Formatter<'_>, latency: &Latency) -> fmt::Result {
    let ms = |seconds: f64| format!("{:.1}", seconds * 1e3);
    writeln!(
        f,
        "milliseconds until records were seen committed (looked at every {} ms), from their append \
         and from when they were due",
        ms(latency.resolution_seconds)
    )?;
    writeln!(
        f,
        "{:<15} {:>10} {:>8} {:>9} {:>9} {:>9} {:>9} {:>10}",
        "of the top rate", "records/s", "from", "p50", "p99", "p999", "max", "feed late"
    )?;
    for at in &latency.rates {
        for (from, percentiles) in at.measures() {
            writeln!(
                f,
                "{:<15} {:>10} {from:>8} {:>9} {:>9} {:>9} {:>9} {:>10}",
                format!("{:.0} %", at.share_of_top * 100.0),
                HumanCount(at.records_per_second.round() as u64).to_string(),
                ms(percentiles.p50),
                ms(percentiles.p99),
                ms(percentiles.p999),
                ms(percentiles.max),
                ms(at.feed_late_max),
            )?;
        }
    }
    let Some(bare) = latency.bare_transaction_seconds else { return Ok(()) };
    writeln!(
        f,
        "one bare transaction of a full batch: {} ms; linger {} ms, and three of them: {} ms",
        ms(bare),
        ms(latency.linger_seconds),
        ms(latency.linger_seconds + 3.0 * bare),
    )
}

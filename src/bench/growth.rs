//! Where the cost of a record grows over a scaling run: by how much, and at which stage.

use std::fmt;

use indicatif::HumanCount;

use super::findings::{Findings, Median, Point, Who};

/// What grows by less than this is the measure's own spread.
const NOTABLE: f64 = 0.15;

/// What grows by fewer CPU seconds per million records is not worth a line.
const NOTABLE_SECONDS: f64 = 0.05;

/// Says it, a line for each value against the cheapest one.
pub(super) struct Growth<'a>(pub(super) &'a Findings);

impl fmt::Display for Growth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0)
    }
}

fn write(f: &mut fmt::Formatter<'_>, findings: &Findings) -> fmt::Result {
    let Some(scale) = findings.scale else { return Ok(()) };
    let service = |point: &Point| point.medians.get(&Who::Service).cloned();
    let all: Vec<_> = findings
        .points
        .iter()
        .filter_map(|point| Some((point.value?, service(point)?, point.ratio_to_limit)))
        .collect();
    writeln!(
        f,
        "{:<22} {:>10} {:>9} {:>9} {:>9} {:>9}",
        scale.unit(),
        "records/s",
        "ratio",
        "own s/M",
        "server",
        "both"
    )?;
    for (value, median, ratio) in &all {
        let cpu = &median.cpu_seconds_per_million;
        let seconds = |cpu: Option<f64>| cpu.map_or("-".to_owned(), |cpu| format!("{cpu:.2}"));
        writeln!(
            f,
            "{:<22} {:>10} {:>9} {:>9} {:>9} {:>9}",
            HumanCount(*value).to_string(),
            HumanCount(median.records_per_second as u64).to_string(),
            ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
            seconds(cpu.own),
            seconds(cpu.server),
            seconds(Some(cost(median))),
        )?;
    }
    let cheapest = all.iter().min_by(|a, b| cost(&a.1).total_cmp(&cost(&b.1)));
    let Some((least, cheapest, _)) = cheapest else { return Ok(()) };
    for (value, median, _) in &all {
        let (from, to) = (cost(cheapest), cost(median));
        if value != least && to > from * (1.0 + NOTABLE) {
            writeln!(
                f,
                "at {} a record costs {:.0} % more CPU than at {}: {}",
                HumanCount(*value),
                (to / from - 1.0) * 100.0,
                HumanCount(*least),
                parts(cheapest, median)
            )?;
        }
    }
    Ok(())
}

/// CPU seconds per million records, ours and the server's.
fn cost(median: &Median) -> f64 {
    let cpu = &median.cpu_seconds_per_million;
    cpu.own.unwrap_or(0.0) + cpu.server.unwrap_or(0.0)
}

/// What has grown, the most first.
fn parts(from: &Median, to: &Median) -> String {
    let (from, to) = (&from.cpu_seconds_per_million, &to.cpu_seconds_per_million);
    let before = |stage: &String| from.stages.get(stage).copied().unwrap_or(0.0);
    let mut grown: Vec<_> =
        to.stages.iter().map(|(stage, cpu)| (stage.as_str(), cpu - before(stage))).collect();
    let server = to.server.zip(from.server).map_or(0.0, |(to, from)| to - from);
    grown.push(("the server", server));
    grown.retain(|(_, cpu)| *cpu >= NOTABLE_SECONDS);
    grown.sort_by(|a, b| b.1.total_cmp(&a.1));
    let grown = grown.iter().map(|(part, cpu)| format!("{part} +{cpu:.2} s/M"));
    let grown = grown.collect::<Vec<_>>();
    if grown.is_empty() { "spread over all stages".to_owned() } else { grown.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::findings::tests::{case, run};
    use crate::bench::meter::Cpu;

    fn median(own: f64, work: f64, server: f64) -> Median {
        let mut run = run(Who::Service, 1, 10.0);
        run.cpu_seconds_per_million = Cpu {
            own: Some(own),
            stages: [("work".to_owned(), work)].into(),
            server: Some(server),
            ..Cpu::default()
        };
        let point = Point::new(None, case(), 0.0, vec![run]);
        point.medians[&Who::Service].clone()
    }

    #[test]
    fn the_stage_that_has_grown_most_is_named_first() {
        let (least, most) = (median(1.0, 0.5, 3.0), median(1.2, 0.7, 4.0));
        assert_eq!(cost(&most), 5.2);
        assert_eq!(parts(&least, &most), "the server +1.00 s/M, work +0.20 s/M");
        assert_eq!(parts(&least, &least), "spread over all stages");
    }
}

//! The plots of the page.

use indicatif::HumanCount;

use super::svg::{Anchor, Drawing, WIDTH, marks, short};
use crate::bench::findings::{Findings, Latency, LatencyAt, Median, Percentiles, Point, Who};

/// Room for names at the left of bars.
const NAMES: f64 = 150.0;

/// Room for numbers at the left of an axis.
const LABELS: f64 = 48.0;

/// The height of plots with two axes.
const HEIGHT: f64 = 260.0;

/// The colours of the server and the broker, apart from those of our stages.
const SERVER: usize = 2;
const BROKER: usize = 9;
const OTHER: usize = 10;
const BENCH: usize = 11;

/// Records a second of each way: the median, and each round.
pub(super) fn rates(point: &Point) -> String {
    const ROW: f64 = 34.0;
    let mut drawing = Drawing::new(ROW * point.medians.len() as f64 + 4.0);
    let most = point.runs.iter().map(|run| run.records_per_second).fold(0.0, f64::max);
    let room = WIDTH - NAMES - 80.0;
    let x = |rate: f64| NAMES + room * rate / most.max(f64::MIN_POSITIVE);
    for (row, (who, median)) in point.medians.iter().enumerate() {
        let (y, colour) = (row as f64 * ROW + 4.0, colour_of(*who));
        drawing.text((NAMES - 10.0, y + 15.0), Anchor::End, false, who.name());
        drawing.bar((NAMES, y), (x(median.records_per_second) - NAMES, 22.0), colour);
        for run in point.runs.iter().filter(|run| run.who == *who) {
            drawing.dot((x(run.records_per_second), y + 11.0));
        }
        let label = HumanCount(median.records_per_second.round() as u64).to_string();
        drawing.text((x(median.range.1) + 10.0, y + 15.0), Anchor::Start, false, &label);
    }
    drawing.end("records a second")
}

/// CPU of each way: ours by stage, the server's, the broker's.
pub(super) fn cpu(point: &Point) -> String {
    let rows: Vec<_> = point.medians.iter().map(|(who, m)| (who.name().to_owned(), m)).collect();
    stacked(&rows, "CPU seconds per million records")
}

/// What a median's CPU is made of, by part.
fn parts(median: &Median) -> Vec<(String, f64)> {
    let cpu = &median.cpu_seconds_per_million;
    let mut parts: Vec<_> = cpu.in_order().map(|(stage, cpu)| (stage.to_owned(), cpu)).collect();
    let of_stages = parts.iter().map(|(_, cpu)| cpu).sum::<f64>();
    let rest = cpu.own.unwrap_or(0.0) - of_stages;
    let others = [
        (if parts.is_empty() { "the bench" } else { "other" }, Some(rest.max(0.0))),
        ("the server", cpu.server),
        ("the broker", cpu.broker),
    ];
    for (name, cpu) in others {
        match (parts.iter_mut().find(|(part, _)| part == name), cpu) {
            (Some(part), Some(cpu)) => part.1 += cpu,
            (None, Some(cpu)) => parts.push((name.to_owned(), cpu)),
            (_, None) => {}
        }
    }
    parts.retain(|(_, cpu)| *cpu > 0.0);
    parts
}

/// A bar for each row, made of its parts.
fn stacked(rows: &[(String, &Median)], title: &str) -> String {
    const ROW: f64 = 34.0;
    let rows: Vec<_> = rows.iter().map(|(name, median)| (name, parts(median))).collect();
    let total = |parts: &[(String, f64)]| parts.iter().map(|(_, cpu)| cpu).sum::<f64>();
    let most = rows.iter().map(|(_, parts)| total(parts)).fold(0.0, f64::max);
    let colours = part_colours(rows.iter().flat_map(|(_, parts)| parts));
    let room = WIDTH - NAMES - 60.0;
    let bottom = ROW * rows.len() as f64;
    let mut drawing = Drawing::new(bottom + 26.0);
    for (row, (name, parts)) in rows.iter().enumerate() {
        let (y, mut x) = (row as f64 * ROW + 4.0, NAMES);
        drawing.text((NAMES - 10.0, y + 15.0), Anchor::End, false, name);
        for (part, cpu) in parts {
            let width = room * cpu / most.max(f64::MIN_POSITIVE);
            let colour = colours.iter().find(|(name, _)| name == part).map_or(0, |(_, n)| *n);
            drawing.bar((x, y), ((width - 1.0).max(0.5), 22.0), colour);
            x += width;
        }
        let label = format!("{:.2} s", total(parts));
        drawing.text((x + 8.0, y + 15.0), Anchor::Start, false, &label);
    }
    drawing.legend(bottom + 22.0, &colours);
    drawing.end(title)
}

/// A colour for each part: the server, the broker and the rest always the same, last.
fn part_colours<'a>(parts: impl Iterator<Item = &'a (String, f64)>) -> Vec<(String, usize)> {
    let mut colours = Vec::<(String, usize)>::new();
    let mut free = [0, 1, 3, 4, 5, 6, 7, 8].into_iter().cycle();
    for (part, _) in parts {
        if colours.iter().all(|(name, _)| name != part) {
            let colour = match part.as_str() {
                "the server" => SERVER,
                "the broker" => BROKER,
                "the bench" => BENCH,
                "other" => OTHER,
                _ => free.next().unwrap_or(0),
            };
            colours.push((part.clone(), colour));
        }
    }
    let last = [OTHER, SERVER, BROKER, BENCH];
    colours
        .sort_by_key(|(_, colour)| last.iter().position(|one| one == colour).map_or(0, |n| n + 1));
    colours
}

fn colour_of(who: Who) -> usize {
    match who {
        Who::Service => 0,
        Who::Copy | Who::Sleep => 1,
        Who::Unnest => 9,
    }
}

/// One line of a plot with two axes.
struct Series {
    name: String,
    colour: usize,
    points: Vec<(f64, f64)>,
}

/// The marks of the horizontal axis: where, and what they say.
type Marks = Vec<(f64, String)>;

fn lines(series: &[Series], x_marks: &Marks, with_dots: bool, title: &str) -> String {
    let mut drawing = Drawing::new(HEIGHT + 26.0);
    let all = || series.iter().flat_map(|one| one.points.iter());
    let y_marks = marks(all().map(|(_, y)| *y).fold(0.0, f64::max));
    let y_max = y_marks.last().copied().unwrap_or(1.0);
    let x_max = x_marks.iter().map(|(x, _)| *x).fold(f64::MIN_POSITIVE, f64::max);
    let (left, right, top, bottom) = (LABELS, WIDTH - 26.0, 8.0, HEIGHT - 24.0);
    let place = |(x, y): (f64, f64)| {
        (left + (right - left) * x / x_max, bottom - (bottom - top) * y / y_max)
    };
    for mark in &y_marks {
        let (_, y) = place((0.0, *mark));
        drawing.grid((left, y), (right, y));
        drawing.text((left - 8.0, y + 4.0), Anchor::End, true, &short(*mark));
    }
    for (mark, label) in x_marks {
        let (x, _) = place((*mark, 0.0));
        drawing.text((x, bottom + 18.0), Anchor::Middle, true, label);
    }
    for one in series {
        let points: Vec<_> = one.points.iter().map(|point| place(*point)).collect();
        drawing.path(&points, one.colour);
        if with_dots {
            points.iter().for_each(|point| drawing.dot(*point));
        }
    }
    let names: Vec<_> = series.iter().map(|one| (one.name.clone(), one.colour)).collect();
    drawing.legend(HEIGHT + 14.0, &names);
    drawing.end(title)
}

/// What the service had committed by when, round by round.
pub(super) fn committed(point: &Point) -> String {
    let runs = point.runs.iter().filter(|run| run.who == Who::Service);
    let series: Vec<_> = runs
        .map(|run| Series {
            name: format!("round {}", run.round),
            colour: run.round as usize - 1,
            points: run.committed.iter().map(|(at, n)| (*at, *n as f64)).collect(),
        })
        .collect();
    let longest = series.iter().flat_map(|one| one.points.iter()).map(|(x, _)| *x);
    let marks = marks(longest.fold(0.0, f64::max)).into_iter();
    let marks = marks.map(|second| (second, format!("{} s", short(second)))).collect();
    lines(&series, &marks, false, "records committed by time")
}

/// Latency by percentile: each step to the right is ten times rarer.
pub(super) fn latency(latency: &Latency) -> String {
    // Of the rarest ones nothing is drawn: a run has few of them.
    let place = |percentile: f64| -(1.0 - percentile.min(99.99) / 100.0).log10();
    let series: Vec<_> = latency
        .rates
        .iter()
        .enumerate()
        .map(|(number, at)| Series {
            name: format!(
                "{:.0} % of the top rate, {}/s",
                at.share_of_top * 100.0,
                HumanCount(at.records_per_second.round() as u64)
            ),
            colour: [3, 0, 5][number % 3],
            points: drawn(at).curve.iter().map(|(p, seconds)| (place(*p), seconds * 1e3)).collect(),
        })
        .collect();
    let marks = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99];
    let marks =
        marks.map(|percentile| (place(percentile), format!("p{}", short_percent(percentile))));
    lines(&series, &marks.to_vec(), false, "milliseconds until a record is committed")
}

/// What the plot of latencies begins at.
pub(super) fn latency_begins(latency: &Latency) -> &'static str {
    match latency.rates.iter().all(|at| at.from_append.is_some()) {
        true => "a record's append",
        false => "the moment a record was due",
    }
}

fn drawn(at: &LatencyAt) -> &Percentiles {
    at.from_append.as_ref().unwrap_or(&at.from_due)
}

fn short_percent(percentile: f64) -> String {
    format!("{percentile:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Records a second by the value of a scaling run; values stand at even distances.
pub(super) fn scale_rates(findings: &Findings) -> String {
    let who = [Who::Service, Who::Copy, Who::Unnest, Who::Sleep];
    let rate = |point: &Point, who| point.medians.get(&who).map(|m| m.records_per_second);
    let series = who.map(|who| Series {
        name: who.name().to_owned(),
        colour: colour_of(who),
        points: (0..)
            .zip(&findings.points)
            .filter_map(|(place, point)| Some((f64::from(place), rate(point, who)?)))
            .collect(),
    });
    let series: Vec<_> = series.into_iter().filter(|one| !one.points.is_empty()).collect();
    let marks = (0..)
        .zip(&findings.points)
        .map(|(place, point)| (f64::from(place), short(point.value.unwrap_or(0) as f64)));
    lines(&series, &marks.collect(), true, "records a second")
}

/// CPU per million records by the value of a scaling run.
pub(super) fn scale_costs(findings: &Findings) -> String {
    let unit = findings.scale.map_or("", |scale| scale.unit());
    let row = |point: &'_ Point| {
        let name = format!("{unit}: {}", HumanCount(point.value.unwrap_or(0)));
        Some((name, point.medians.get(&Who::Service)?.clone()))
    };
    let rows: Vec<_> = findings.points.iter().filter_map(row).collect();
    let rows: Vec<_> = rows.iter().map(|(name, median)| (name.clone(), median)).collect();
    stacked(&rows, "CPU seconds per million records")
}

//! The findings as a page that a person can look at: one file with its plots in it, which asks
//! nobody for anything.

mod plots;
mod svg;

use std::fmt::Write as _;

use indicatif::{HumanBytes, HumanCount};

use self::svg::escaped;
use super::findings::{Findings, Latency, Percentiles, Point, Who};

/// How the page looks, by daylight and at night.
const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(crate) fn page(findings: &Findings) -> String {
    let mut html = String::new();
    let title = format!("longshore bench {}", findings.bench);
    // Writing into a string cannot fail.
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main>\n\
         <header><h1>{title}</h1><p>{}</p></header>\n",
        escaped(&subtitle(findings)),
    );
    if findings.scale.is_some() {
        section(&mut html, "How the cost of a record grows", &scale(findings));
    }
    for point in &findings.points {
        let heading = match (findings.scale, point.value) {
            (Some(scale), Some(value)) => format!("{}: {}", scale.unit(), HumanCount(value)),
            _ => "The service and the bare database".to_owned(),
        };
        let with_curves = findings.scale.is_none();
        section(&mut html, &heading, &point_html(point, with_curves));
    }
    if let Some(latency) = &findings.latency {
        section(&mut html, "From append to commit", &latency_html(latency));
    }
    section(&mut html, "How to read it", &notes(findings));
    html.push_str("</main></body></html>\n");
    html
}

fn section(html: &mut String, heading: &str, body: &str) {
    let _ = writeln!(html, "<section><h2>{}</h2>{body}</section>", escaped(heading));
}

fn subtitle(findings: &Findings) -> String {
    let machine = &findings.machine;
    format!(
        "{} · {} cores{} · PostgreSQL {} · {} · version {}",
        findings.begun_at,
        machine.cores,
        machine.processor.as_ref().map(|name| format!(" of {name}")).unwrap_or_default(),
        machine.postgres,
        machine.servers,
        findings.version,
    )
}

fn point_html(point: &Point, with_curves: bool) -> String {
    let mut html = headline(point);
    let _ = write!(
        html,
        "<figure>{}<figcaption>Records (bare ways: rows) a second: the bar is the median, a dot \
         is a round.</figcaption></figure>",
        plots::rates(point)
    );
    let _ = write!(
        html,
        "<figure>{}<figcaption>CPU seconds per million records; medians.</figcaption></figure>",
        plots::cpu(point)
    );
    if with_curves {
        let _ = write!(
            html,
            "<figure>{}<figcaption>What the service had committed, by time since it had its \
             partitions; a line is a round.</figcaption></figure>",
            plots::committed(point)
        );
    }
    html + &conditions(point)
}

/// The figures that matter, large.
fn headline(point: &Point) -> String {
    let mut cards = Vec::new();
    let mut card = |value: String, what: &str| {
        cards.push(format!("<div class=\"card\"><b>{value}</b><span>{what}</span></div>"));
    };
    if let Some(service) = point.medians.get(&Who::Service) {
        let cpu = &service.cpu_seconds_per_million;
        card(HumanCount(service.records_per_second.round() as u64).to_string(), "records a second");
        if let Some(ratio) = point.ratio_to_limit {
            card(format!("{ratio:.2}"), "of the bare limit");
        }
        if let Some(own) = cpu.own {
            card(format!("{own:.2} s"), "of our CPU per million");
        }
        if let Some(server) = cpu.server {
            card(format!("{server:.2} s"), "of the server's");
        }
        if let Some(peak) = service.peak_memory_bytes {
            card(HumanBytes(peak).to_string(), "peak memory");
        }
    }
    format!("<div class=\"cards\">{}</div>", cards.concat())
}

fn conditions(point: &Point) -> String {
    let case = &point.case;
    let batch = case.batch.map_or("default".to_owned(), |batch| HumanCount(batch).to_string());
    let rows = [
        ("records", HumanCount(case.records).to_string()),
        ("bytes a record", format!("{:.0}", point.value_bytes)),
        ("partitions", case.partitions.to_string()),
        ("saving connections", case.connections.to_string()),
        ("batch", batch),
        ("rows before", HumanCount(case.table_rows).to_string()),
        ("context rows", HumanCount(case.shape.context).to_string()),
        ("repeats", format!("{} %", case.shape.repeats * 100.0)),
        ("unreadable", format!("{} %", case.shape.malformed * 100.0)),
        ("refused", format!("{} %", case.shape.refused * 100.0)),
        ("seed", case.shape.seed.to_string()),
    ];
    let rows = rows.map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>"));
    format!("<dl>{}</dl>", rows.concat())
}

fn scale(findings: &Findings) -> String {
    format!(
        "<figure>{}<figcaption>Records a second.</figcaption></figure>\
         <figure>{}<figcaption>CPU seconds per million records: ours by stage, and the \
         server's.</figcaption></figure><pre>{}</pre>",
        plots::scale_rates(findings),
        plots::scale_costs(findings),
        escaped(&super::growth::Growth(findings).to_string()),
    )
}

fn latency_html(latency: &Latency) -> String {
    let ms = |seconds: f64| format!("{:.1}", seconds * 1e3);
    let mut html = format!(
        "<figure>{}<figcaption>Milliseconds from {} until it was seen committed, looked at every \
         {} ms, by percentile.</figcaption></figure>",
        plots::latency(latency),
        plots::latency_begins(latency),
        ms(latency.resolution_seconds),
    );
    html.push_str(
        "<table><tr><th>of the top rate<th>records/s<th>from<th>p50 ms<th>p99<th>p999<th>max\
         <th>feed late</tr>",
    );
    for at in &latency.rates {
        let rate = HumanCount(at.records_per_second.round() as u64);
        for (from, Percentiles { p50, p99, p999, max, .. }) in at.measures() {
            let share = at.share_of_top * 100.0;
            let _ = write!(html, "<tr><td>{share:.0} %<td>{rate}<td>{from}");
            for seconds in [*p50, *p99, *p999, *max, at.feed_late_max] {
                let _ = write!(html, "<td>{}", ms(seconds));
            }
            html.push_str("</tr>");
        }
    }
    html.push_str("</table>");
    if let Some(bare) = latency.bare_transaction_seconds {
        let _ = write!(
            html,
            "<p>One bare transaction of a full batch takes {} ms. Linger ({} ms) and three of \
             them: {} ms.</p>",
            ms(bare),
            ms(latency.linger_seconds),
            ms(latency.linger_seconds + 3.0 * bare),
        );
    }
    html
}

fn notes(findings: &Findings) -> String {
    let set = findings.set.iter().map(|(key, value)| format!("set: {key} = {value}"));
    let about = "The limit writes the rows that the service has saved, read back byte for byte, by \
                 sorted binary COPY in fenced transactions, without Kafka, lookups or care for \
                 duplicates: faster than any service can be that is safe from them.";
    let lines = std::iter::once(about.to_owned()).chain(findings.notes.iter().cloned()).chain(set);
    let lines = lines.map(|line| format!("<li>{}</li>", escaped(&line)));
    format!("<ul>{}</ul>", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::findings::Machine;
    use crate::bench::findings::tests::{case, run};

    #[test]
    fn the_page_is_whole_and_asks_nobody() {
        let runs = vec![run(Who::Service, 1, 50.0), run(Who::Copy, 1, 100.0)];
        let machine = Machine {
            processor: Some("<fast & new>".to_owned()),
            cores: 2,
            postgres: "17".to_owned(),
            servers: "given".to_owned(),
        };
        let findings = Findings {
            bench: "ads",
            version: "1",
            begun_at: "2026-01-01T00:00:00Z".to_owned(),
            machine,
            notes: vec!["a note".to_owned()],
            set: Default::default(),
            scale: None,
            points: vec![Point::new(None, case(), 200.0, runs)],
            latency: None,
        };
        let page = page(&findings);
        assert!(page.contains("&lt;fast &amp; new&gt;"), "text is escaped");
        assert!(page.contains("0.50") && page.contains("a note"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        for stranger in ["http://", "https://", "<script", "@import", "url("] {
            let found = page.replace("http://www.w3.org/2000/svg", "").contains(stranger);
            assert!(!found, "the page asks for {stranger}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf"), "no plot is off the page");
    }
}

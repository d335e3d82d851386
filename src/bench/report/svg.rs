//! The few shapes that the plots need, as SVG. Colours are the page's, by number.

use std::fmt::Write as _;

/// How wide every plot is; the page fits it to the window.
pub(super) const WIDTH: f64 = 850.0;

/// The page has so many colours.
const COLOURS: usize = 12;

/// A drawing in the making.
pub(super) struct Drawing {
    height: f64,
    body: String,
}

/// Where a text is held.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Drawing {
    pub(super) fn new(height: f64) -> Self {
        Self { height, body: String::new() }
    }

    pub(super) fn bar(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), colour: usize) {
        // Writing into a string cannot fail, here and below.
        let _ = write!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\" \
             fill=\"{}\"/>",
            width.max(0.0),
            height.max(0.0),
            colour_of(colour)
        );
    }

    pub(super) fn dot(&mut self, (x, y): (f64, f64)) {
        let _ = write!(
            self.body,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"var(--paper)\" \
             stroke=\"var(--dot)\" stroke-width=\"1.3\"/>"
        );
    }

    pub(super) fn path(&mut self, points: &[(f64, f64)], colour: usize) {
        let points = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}"));
        let _ = write!(
            self.body,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" \
             stroke-linejoin=\"round\"/>",
            points.collect::<Vec<_>>().join(" "),
            colour_of(colour)
        );
    }

    pub(super) fn grid(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = write!(
            self.body,
            "<line class=\"grid\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        );
    }

    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, soft: bool, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let class = if soft { " class=\"soft\"" } else { "" };
        let _ = write!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{class}>{}</text>",
            escaped(text)
        );
    }

    /// Names and colours side by side, from `y` on in as many lines as it takes. Gives where they
    /// end.
    pub(super) fn legend(&mut self, y: f64, names: &[(String, usize)]) -> f64 {
        const LETTER: f64 = 6.6;
        let (mut x, mut y) = (0.0, y);
        for (name, colour) in names {
            let width = 26.0 + name.chars().count() as f64 * LETTER;
            if x > 0.0 && x + width > WIDTH {
                (x, y) = (0.0, y + 18.0);
            }
            self.bar((x, y - 9.0), (10.0, 10.0), *colour);
            self.text((x + 15.0, y), Anchor::Start, true, name);
            x += width;
        }
        self.height = self.height.max(y + 8.0);
        y
    }

    pub(super) fn end(self, title: &str) -> String {
        let Self { height, body } = self;
        let title = escaped(title);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             role=\"img\" aria-label=\"{title}\">{body}</svg>"
        )
    }
}

fn colour_of(number: usize) -> String {
    format!("var(--c{})", number % COLOURS)
}

/// Text that HTML takes as text.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Round numbers from 0 to `max` and the first beyond it: the marks of an axis.
pub(super) fn marks(max: f64) -> Vec<f64> {
    const STEPS_MAX: f64 = 5.0;
    if max.is_nan() || max <= 0.0 || max.is_infinite() {
        return vec![0.0, 1.0];
    }
    let rough = max / STEPS_MAX;
    let decade = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|n| n * decade);
    let step = step.into_iter().find(|step| *step >= rough).unwrap_or(decade * 10.0);
    (0..=(max / step).ceil() as u32).map(|n| f64::from(n) * step).collect()
}

/// A number as short as it may be on an axis.
pub(super) fn short(number: f64) -> String {
    let trimmed = |text: String| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    match number.abs() {
        n if n >= 1e6 => trimmed(format!("{:.2}", number / 1e6)) + " M",
        n if n >= 1e4 => trimmed(format!("{:.1}", number / 1e3)) + " k",
        n if n >= 100.0 || n == 0.0 => format!("{number:.0}"),
        n if n >= 1.0 => trimmed(format!("{number:.1}")),
        _ => trimmed(format!("{number:.3}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_few_round_marks_and_holds_the_largest_value() {
        assert_eq!(marks(10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(marks(268_000.0).last(), Some(&300_000.0));
        assert_eq!(marks(0.0), [0.0, 1.0]);
        assert_eq!(marks(f64::NAN), [0.0, 1.0]);
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 0.25, 3.5, 120.0, 15_000.0, 2_500_000.0].map(short);
        assert_eq!(texts, ["0", "0.25", "3.5", "120", "15 k", "2.5 M"]);
    }
}

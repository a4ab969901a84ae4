//! Axes: round steps, and the unit that a whole axis is read in.

/// Where the marks of an axis are.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    /// The unit's name, empty for plain counts.
    pub(super) unit: &'static str,
    /// What one of the unit is.
    pub(super) factor: f64,
    /// Between marks, in units.
    pub(super) step: f64,
    /// The axis' end: a mark, at or above the largest value.
    pub(super) end: f64,
}

impl Scale {
    /// An axis of bytes from 0 to at least `most`.
    pub(super) fn bytes(most: u64) -> Self {
        const UNITS: [(&str, u64); 5] =
            [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
        // The largest unit of which there are at least two.
        let (unit, factor) =
            UNITS.into_iter().rev().find(|(_, factor)| most / factor >= 2).unwrap_or(UNITS[0]);
        Self::new(unit, factor as f64, most, 6.0)
    }

    /// An axis of counts from 0 to at least `most`.
    pub(super) fn counts(most: u64) -> Self {
        Self::new("", 1.0, most, 8.0)
    }

    fn new(unit: &'static str, factor: f64, most: u64, marks: f64) -> Self {
        let most = (most as f64 / factor).max(1.0);
        // The smallest of 1, 2, 5 times a power of ten that needs at most this many marks.
        let rough = most / marks;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power).max(if unit.is_empty() || unit == "B" {
            1.0
        } else {
            0.0
        });
        Self { unit, factor, step, end: (most / step).ceil() * step }
    }

    /// The marks, in units.
    pub(super) fn marks(&self) -> impl Iterator<Item = f64> {
        let (step, count) = (self.step, (self.end / self.step).round() as u32);
        (0..=count).map(move |i| f64::from(i) * step)
    }

    /// Where a value lies on the axis: 0 to 1.
    pub(super) fn place(&self, value: u64) -> f64 {
        value as f64 / self.factor / self.end
    }
}

/// A mark's text: as many decimals as its step needs, thousands grouped.
pub(super) fn label(mark: f64, step: f64) -> String {
    let decimals = if step >= 1.0 { 0 } else { (-step.log10()).ceil() as usize };
    let text = format!("{mark:.decimals$}");
    let whole = text.find('.').unwrap_or(text.len());
    let mut out = String::with_capacity(text.len() + 4);
    for (i, c) in text.char_indices() {
        if i > 0 && i < whole && (whole - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_cover_everything() {
        for most in [0, 1, 7, 4095, 4096, 98_566_144, 38 << 30, 1 << 50, u64::MAX] {
            let scale = Scale::bytes(most);
            assert!(scale.place(most) <= 1.0 + 1e-9, "{most}: {scale:?}");
            let marks: Vec<f64> = scale.marks().collect();
            assert!((2..=8).contains(&marks.len()), "{most}: {marks:?}");
            assert!((marks[marks.len() - 1] - scale.end).abs() < 1e-6 * scale.end);
        }
        let scale = Scale::bytes(98_566_144);
        assert_eq!((scale.unit, scale.step, scale.end), ("MiB", 20.0, 100.0));
        assert_eq!(Scale::counts(9520).step, 2000.0);
    }

    #[test]
    fn labels_have_the_decimals_of_their_step() {
        for (mark, step, text) in [
            (0.0, 20.0, "0"),
            (20.0, 20.0, "20"),
            (0.5, 0.5, "0.5"),
            (1.0, 0.25, "1.0"),
            (1000.0, 500.0, "1\u{202f}000"),
            (1_234_567.0, 1.0, "1\u{202f}234\u{202f}567"),
        ] {
            assert_eq!(label(mark, step), text);
        }
    }
}

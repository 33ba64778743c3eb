//! Bars, as SVG.

#![allow(clippy::cast_precision_loss, reason = "places in a picture")]

use plotters::prelude::*;

use super::digits;

const SIZE: (u32, u32) = (860, 340);
/// A range of values that is wider is drawn on a logarithmic scale.
const WIDE: f64 = 50.0;

/// Values of several kinds, side by side in groups.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct Chart {
    pub(in crate::cli) title: String,
    pub(in crate::cli) groups: Vec<String>,
    /// A kind, and its value in each group where it has one.
    pub(in crate::cli) kinds: Vec<(String, Vec<Option<f64>>)>,
}

impl Chart {
    /// Nothing that can be drawn is an empty string.
    pub(in crate::cli) fn svg(&self) -> String {
        let mut out = String::new();
        match self.draw(&mut out) {
            Ok(()) => out,
            Err(error) => {
                tracing::warn!(chart = self.title, %error, "a chart cannot be drawn");
                String::new()
            }
        }
    }

    fn draw(&self, out: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let kinds: Vec<_> = self.kinds.iter().filter(|(_, values)| values.iter().flatten().next().is_some()).collect();
        let values: Vec<f64> = kinds.iter().flat_map(|(_, values)| values.iter().flatten().copied()).filter(|v| v.is_finite()).collect();
        let highest = values.iter().copied().fold(0.0, f64::max);
        let lowest = values.iter().copied().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        if self.groups.is_empty() || highest <= 0.0 {
            return Ok(());
        }
        let scale = if highest / lowest > WIDE { Scale::Logarithmic } else { Scale::Linear };
        let (bottom, top) = match scale {
            // The legend has its place above the bars.
            Scale::Linear => (0.0, highest * (1.08 + 0.08 * kinds.len() as f64)),
            Scale::Logarithmic => {
                let bottom = lowest.log10().floor();
                (bottom, bottom + (highest.log10() - bottom) * (1.08 + 0.08 * kinds.len() as f64))
            }
        };
        let root = SVGBackend::with_string(out, SIZE).into_drawing_area();
        let wide = self.groups.len() as f64;
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(34)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..wide, bottom..top)?;
        let labels = if scale == Scale::Logarithmic { steps(top - bottom) } else { 6 };
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().x_labels(0).y_labels(labels).light_line_style(WHITE).label_style(("sans-serif", 13));
        mesh.y_label_formatter(&|value| digits(scale.value(*value))).draw()?;
        let slot = 0.8 / kinds.len().max(1) as f64;
        for (index, (kind, values)) in kinds.iter().enumerate() {
            let color = Palette99::pick(index).to_rgba();
            let left = 0.1 + slot * index as f64;
            let bars = values.iter().enumerate().filter_map(|(group, value)| {
                let begin = group as f64 + left;
                let height = scale.place((*value)?).filter(|height| height.is_finite())?;
                Some(Rectangle::new([(begin, bottom), (begin + slot * 0.92, height.max(bottom))], color.filled()))
            });
            let series = chart.draw_series(bars)?;
            series.label(kind.as_str()).legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], color.filled()));
        }
        let centered = ("sans-serif", 13).into_text_style(&root).pos(plotters::style::text_anchor::Pos::new(
            plotters::style::text_anchor::HPos::Center,
            plotters::style::text_anchor::VPos::Top,
        ));
        let names = self
            .groups
            .iter()
            .enumerate()
            .map(|(group, name)| EmptyElement::at((group as f64 + 0.5, bottom)) + Text::new(name.clone(), (0, 8), centered.clone()));
        chart.draw_series(names)?;
        if kinds.len() > 1 {
            let mut legend = chart.configure_series_labels();
            legend.position(SeriesLabelPosition::UpperRight).background_style(WHITE.mix(0.8)).label_font(("sans-serif", 13)).draw()?;
        }
        root.present()?;
        drop(chart);
        drop(root);
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Scale {
    Linear,
    Logarithmic,
}

impl Scale {
    fn place(self, value: f64) -> Option<f64> {
        match self {
            Self::Linear => Some(value),
            Self::Logarithmic => (value > 0.0).then(|| value.log10()),
        }
    }

    fn value(self, place: f64) -> f64 {
        match self {
            Self::Linear => place,
            Self::Logarithmic => 10_f64.powf(place),
        }
    }
}

/// One label for each power of ten.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number of powers of ten")]
fn steps(powers: f64) -> usize {
    powers.clamp(1.0, 20.0) as usize + 1
}

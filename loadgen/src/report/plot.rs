//! Latency by percentile as an SVG, one curve per run; both axes logarithmic, so that the tail
//! has as much room as the middle.

use plotters::prelude::*;

use crate::latency::LatencyHistogram;

/// Pixels.
const SIZE: (u32, u32) = (960, 540);

/// Points of a curve per factor of ten in rarity.
const STEPS_PER_DECADE: u32 = 20;

const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(255, 127, 14),
    RGBColor(23, 190, 207),
];

/// One run of a plot.
#[derive(Debug)]
pub struct Curve {
    pub name: String,
    /// Nanoseconds.
    pub histogram: LatencyHistogram,
}

/// The drawing library gave up; its own words.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw the plot: {0}")]
pub struct PlotError(String);

/// Draws all curves that hold anything.
pub fn svg(title: &str, curves: &[Curve]) -> Result<String, PlotError> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&area, title, curves).map_err(|error| PlotError(error.to_string()))?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(
    area: &Area<'_>,
    title: &str,
    curves: &[Curve],
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    area.fill(&WHITE)?;
    let lines: Vec<_> = curves.iter().map(|curve| points(&curve.histogram)).collect();
    let all = || lines.iter().flatten();
    let rarest = all().map(|point| point.0).fold(1.0, f64::max);
    let lowest = all().map(|point| point.1).fold(f64::MAX, f64::min).min(1e9);
    let highest = all().map(|point| point.1).fold(lowest * 2.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d(0.0..rarest, (lowest * 0.8..highest * 1.2).log_scale())?;
    chart
        .configure_mesh()
        .x_labels(rarest.ceil() as usize + 1)
        .x_label_formatter(&|&nines| percentile(nines))
        .y_label_formatter(&|&us| format!("{us:.0}"))
        .x_desc("percentile")
        .y_desc("latency, µs")
        .draw()?;
    for ((curve, line), colour) in curves.iter().zip(lines).zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(line, style))?
            .label(curve.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    area.present()
}

/// Rarity in factors of ten (1 is the 90th percentile, 2 the 99th), and latency in microseconds,
/// up to the last percentile the count of messages gives a meaning to.
fn points(histogram: &LatencyHistogram) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let decades = (histogram.len() as f64).log10();
    let steps = (decades * f64::from(STEPS_PER_DECADE)).floor() as u32;
    (0..=steps)
        .map(|step| {
            let nines = f64::from(step) / f64::from(STEPS_PER_DECADE);
            let ns = histogram.value_at_quantile(1.0 - 10f64.powf(-nines));
            (nines, (ns as f64 / 1e3).max(0.001))
        })
        .collect()
}

/// `1` is 90 %, `2` is 99 %, `3` is 99.9 %.
fn percentile(nines: f64) -> String {
    let decimals = (nines - 2.0).ceil().max(0.0) as usize;
    format!("{:.decimals$}%", 100.0 * (1.0 - 10f64.powf(-nines)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(name: &str, up_to_us: u64) -> Curve {
        let mut histogram = crate::latency::histogram();
        (1..=up_to_us * 10).for_each(|n| histogram.saturating_record(n * 100));
        Curve { name: name.to_owned(), histogram }
    }

    #[test]
    fn percentiles_are_written_with_the_digits_that_matter() {
        let texts: Vec<_> = [0.0, 1.0, 2.0, 3.0, 4.0].into_iter().map(percentile).collect();
        assert_eq!(texts, ["0%", "90%", "99%", "99.9%", "99.99%"]);
    }

    #[test]
    fn a_curve_ends_where_the_count_ends() {
        let line = points(&curve("", 100).histogram);
        assert_eq!(line.len(), 61, "a thousand messages are three decades of twenty steps");
        assert!((99.0..=100.1).contains(&line[60].1), "{:?}", line[60]);
        assert!((49.0..=51.0).contains(&line[6].1), "the median is 0.3 decades: {:?}", line[6]);
    }

    #[test]
    fn a_plot_names_its_curves_and_one_without_messages_does_no_harm() {
        let empty = Curve { name: "empty".to_owned(), histogram: crate::latency::histogram() };
        let svg = svg("title", &[curve("fast", 10), curve("slow", 1000), empty]).unwrap();
        for text in ["<svg", "title", "fast", "slow", "percentile", "99%", "polyline"] {
            assert!(svg.contains(text), "{text}");
        }
    }
}

//! Plots of lines that the scenarios printed, as SVG, and their figures as a table.

use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::prelude::*;
use serde_json::Value;

const SIZE: (u32, u32) = (720, 360);

/// The sides of `compare`, in the order of the bars.
const SIDES: [(&str, &str, RGBColor); 4] = [
    ("orchestration", "plain orchestration", RGBColor(160, 160, 160)),
    ("handwritten", "a transaction a message", RGBColor(214, 120, 60)),
    ("ours", "this workspace", RGBColor(40, 100, 200)),
    ("memory", "in memory", RGBColor(120, 180, 120)),
];

pub(crate) fn run(lines: &Path, out: &Path) -> Result<()> {
    let text = std::fs::read_to_string(lines).with_context(|| lines.display().to_string())?;
    let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    std::fs::create_dir_all(out)?;
    let of = |scenario: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["scenario"] == scenario).collect()
    };
    let compared = of("compare");
    for adapter in ["actix", "tower"] {
        let lines: Vec<_> =
            compared.iter().copied().filter(|line| line["adapter"] == adapter).collect();
        if !lines.is_empty() {
            bars(&lines, &out.join(format!("compare-{adapter}.svg")))?;
        }
    }
    table(&compared);
    for line in of("scale") {
        scale(line, &out.join("scale.svg"))?;
    }
    for line in of("state") {
        states(line, &out.join("state.svg"))?;
    }
    Ok(())
}

/// Asks per second by shape and side, on a logarithmic axis.
fn bars(lines: &[&Value], file: &Path) -> Result<()> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let groups = lines.len() as f64;
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(64)
        .caption("asks per second", ("sans-serif", 16))
        .build_cartesian_2d(0.0..groups, (10.0..10_000_000.0).log_scale())?;
    let names: Vec<_> = lines
        .iter()
        .map(|line| line["shape"].as_str().unwrap_or_default().to_uppercase())
        .collect();
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(lines.len() * 2 + 1)
        .x_label_formatter(&|x| match (x.fract() - 0.5).abs() < 0.01 {
            true => names.get(*x as usize).cloned().unwrap_or_default(),
            false => String::new(),
        })
        .y_label_formatter(&|y| thousands(*y))
        .draw()?;
    for (place, (side, label, color)) in SIDES.iter().enumerate() {
        let bars = lines.iter().enumerate().filter_map(|(group, line)| {
            let per_s = line[side]["per_s"].as_f64()?;
            let left = group as f64 + 0.1 + 0.2 * place as f64;
            Some(Rectangle::new([(left, 10.0), (left + 0.18, per_s.max(10.0))], color.filled()))
        });
        chart
            .draw_series(bars)?
            .label(*label)
            .legend(|(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    Ok(root.present()?)
}

/// Throughput over the number of actors.
fn scale(line: &Value, file: &Path) -> Result<()> {
    let sizes = line["sizes"].as_array().context("no sizes")?;
    let points = |y: &str| -> Vec<(f64, f64)> {
        let number = |size: &Value, name: &str| size[name].as_f64().unwrap_or_default();
        sizes.iter().map(|size| (number(size, "actors"), number(size, y))).collect()
    };
    curves(file, "asks per second over actors", &[("256 callers", points("per_s"))])
}

/// Throughput over the size of the state.
fn states(line: &Value, file: &Path) -> Result<()> {
    let states = line["states"].as_array().context("no states")?;
    let points = |side: &str| -> Vec<(f64, f64)> {
        let per_s = |state: &Value| state[side]["per_s"].as_f64().unwrap_or_default();
        states
            .iter()
            .map(|state| (state["bytes"].as_f64().unwrap_or_default(), per_s(state)))
            .collect()
    };
    let curves_of = [
        ("captured once a run", points("capture_per_run")),
        ("captured once a message", points("capture_per_message")),
    ];
    curves(file, "asks per second over bytes of state", &curves_of)
}

fn curves(file: &Path, caption: &str, curves: &[(&str, Vec<(f64, f64)>)]) -> Result<()> {
    let all = || curves.iter().flat_map(|(_, points)| points);
    let least = all().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let most = all().map(|point| point.0).fold(least * 1.01, f64::max);
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(64)
        .caption(caption, ("sans-serif", 16))
        .build_cartesian_2d((least..most).log_scale(), (100.0..1_000_000.0).log_scale())?;
    chart
        .configure_mesh()
        .x_label_formatter(&|x| thousands(*x))
        .y_label_formatter(&|y| thousands(*y))
        .draw()?;
    for (index, (label, points)) in curves.iter().enumerate() {
        let color = SIDES[(2 + 3 * index) % SIDES.len()].2;
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?
            .label(*label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 12, y)], color));
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).draw()?;
    Ok(root.present()?)
}

fn thousands(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", value / 1e6),
        value if value >= 1e3 => format!("{} k", value / 1e3),
        value => value.to_string(),
    }
}

/// The lines of `compare` as a table of Markdown.
fn table(lines: &[&Value]) {
    println!(
        "| adapter | shape | ours | p50 | p99 | by hand | in memory | orchestration | ours / by hand | ours / in memory | to the limit |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for line in lines {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let per_s = |side: &str| format!("{}/s", line[side]["per_s"].as_f64().unwrap_or_default());
        println!(
            "| {} | {} | {} | {} us | {} us | {} | {} | {} | {} | {} | {} |",
            text(&line["adapter"]),
            text(&line["shape"]),
            per_s("ours"),
            line["ours"]["p50_us"],
            line["ours"]["p99_us"],
            per_s("handwritten"),
            per_s("memory"),
            per_s("orchestration"),
            line["ratio"]["handwritten"],
            line["ratio"]["memory"],
            line["ratio"]["limit"],
        );
    }
}

//! The ratios as bars, for a reader on a light or a dark page.

use std::fmt::Write as _;

use benches::work::Way;
use benches::{neighbours, ways};

use crate::rounds::Group;

/// The kind of a bar, which decides how the bar looks.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Ours,
    Surviving,
    Lost,
    Python,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Ours, Self::Surviving, Self::Lost, Self::Python];

    fn of(name: &str) -> Self {
        let is_in = |ways: &[Way]| ways.iter().any(|way| way.name == name);
        if is_in(&[
            ways::HAND_WRITTEN,
            ways::GENERATOR,
            ways::GUARD,
            ways::STACK,
        ]) {
            Self::Ours
        } else if is_in(&[
            ways::SPAWN,
            ways::SPAWN_IN_DROP,
            neighbours::DETACHABLE,
            neighbours::BLOCKING,
        ]) {
            Self::Surviving
        } else if name.starts_with("Python") {
            Self::Python
        } else {
            Self::Lost
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Surviving => "surviving",
            Self::Lost => "lost",
            Self::Python => "python",
        }
    }

    fn legend(self) -> &'static str {
        match self {
            Self::Ours => "this crate",
            Self::Surviving => "survives a drop in some way",
            Self::Lost => "does not survive a drop",
            Self::Python => "CPython",
        }
    }

    /// Returns where the legend of this kind begins.
    fn place(self) -> f64 {
        match self {
            Self::Ours => 16.0,
            Self::Surviving => 130.0,
            Self::Lost => 370.0,
            Self::Python => 590.0,
        }
    }
}

const WIDTH: f64 = 800.0;
/// The position where the bars begin.
const LEFT: f64 = 250.0;
/// The position where the longest bar may end, with room for its number.
const RIGHT: f64 = 730.0;
const TOP: f64 = 84.0;
const ROW: f64 = 25.0;

const STYLE: &str = "
    text { font: 13px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2328 }
    .title { font-size: 16px; font-weight: 600 }
    .name { text-anchor: end }
    .tick { text-anchor: middle; fill: #59636e; font-size: 11px }
    .ratio { stroke: #ffffff; stroke-width: 4px; paint-order: stroke }
    .page { fill: #ffffff }
    line { stroke: #d1d9e0 }
    .floor { stroke: #59636e; stroke-dasharray: 4 3 }
    .ours { fill: #0969da } .surviving { fill: #8c959f } .lost { fill: #ccd3da } .python { fill: #d4a72c }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc }
      .tick { fill: #9198a1 }
      .ratio { stroke: #0d1117 }
      .page { fill: #0d1117 }
      line { stroke: #3d444d }
      .floor { stroke: #9198a1 }
      .ours { fill: #4493f8 } .surviving { fill: #7d8590 } .lost { fill: #3d444d } .python { fill: #bb8009 }
    }";

/// Draws the bars on a logarithmic scale, the shortest first.
pub(crate) fn draw(uses: &Group<'_>) -> String {
    let mut bars: Vec<_> = uses
        .entries()
        .iter()
        .map(|entry| (entry.name.as_str(), entry.ratio()))
        .collect();
    bars.sort_by(|(_, one), (_, other)| one.total_cmp(other));

    let ends = |end: fn(f64, f64) -> f64, start| bars.iter().map(|bar| bar.1).fold(start, end);
    let first = ends(f64::min, 1.0).log10().floor();
    let last = ends(f64::max, 10.0).log10().ceil();
    let x = |ratio: f64| LEFT + (ratio.log10() - first) / (last - first) * (RIGHT - LEFT);
    let mut row = TOP;
    let mut rows = String::new();
    for (name, ratio) in &bars {
        let (class, end, text) = (Kind::of(name).class(), x(*ratio), row + 13.0);
        let digits = usize::from(*ratio < 10.0);
        let _ = write!(
            rows,
            r#"
  <text class="name" x="{:.1}" y="{text:.1}">{name}</text>
  <rect class="{class}" x="{LEFT}" y="{row:.1}" width="{:.1}" height="17" rx="2"/>
  <text class="ratio" x="{:.1}" y="{text:.1}">{ratio:.digits$} ×</text>"#,
            LEFT - 8.0,
            (end - LEFT).max(1.0),
            end + 6.0,
        );
        row += ROW;
    }

    let mut scale = String::new();
    let mut power = first;
    while power <= last {
        let (tick, at) = (10_f64.powf(power), x(10_f64.powf(power)));
        let class = if power == 0.0 { "floor" } else { "line" };
        let _ = write!(
            scale,
            r#"
  <line class="{class}" x1="{at:.1}" x2="{at:.1}" y1="{:.1}" y2="{row:.1}"/>
  <text class="tick" x="{at:.1}" y="{:.1}">{tick} ×</text>"#,
            TOP - 6.0,
            row + 14.0,
        );
        power += 1.0;
    }

    let mut legend = String::new();
    let is_there = |kind: &Kind| bars.iter().any(|(name, _)| Kind::of(name) == *kind);
    for kind in Kind::ALL.into_iter().filter(is_there) {
        let (class, text, at) = (kind.class(), kind.legend(), kind.place());
        let _ = write!(
            legend,
            r#"
  <rect class="{class}" x="{at:.1}" y="43" width="12" height="12" rx="2"/>
  <text x="{:.1}" y="54">{text}</text>"#,
            at + 18.0,
        );
    }

    let height = row + 26.0;
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">
  <title>What a use costs, as a multiple of a bare Box::pin</title>
  <style>{STYLE}
  </style>
  <rect class="page" width="{WIDTH}" height="{height}"/>
  <text class="title" x="16" y="28">Time of a use, as a multiple of a bare Box::pin (logarithmic)</text>{legend}{scale}{rows}
</svg>
"#
    )
}

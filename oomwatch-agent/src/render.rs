//! A captured incident in the form that was asked for.

use jiff::{Timestamp, tz::TimeZone};
use oomwatch_common::{
    attribution::Attribution,
    render_bcc::bcc,
    render_page::{Style, page},
    render_text::text,
    report::{Context, Report, Source},
    surroundings::Surroundings,
    units::{BoottimeNs, PageSize},
};

use crate::{config::Output, record::Circumstances, unpack::Captured};

/// All that is to be said of an incident.
pub fn report(
    captured: &Captured,
    source: Source,
    circumstances: &Circumstances,
    attribution: &Attribution,
    surroundings: &Surroundings,
) -> Report {
    let context = Context {
        node: circumstances.node.clone(),
        boot_id: circumstances.boot_id.clone().unwrap_or_else(|| "unknown".to_owned()),
        page_size: PageSize::new(circumstances.page_size).unwrap_or_default(),
        realtime_at_boot: Timestamp::from_nanosecond(circumstances.realtime_at_boot_ns).unwrap_or_default(),
        source,
        built_at: BoottimeNs(circumstances.reported_at_ns),
    };
    Report::build(&captured.incident, &captured.capture, attribution, surroundings, &context)
}

/// The report's text; ends in a newline.
pub fn render(report: &Report, output: Output, coloured: bool) -> String {
    let style = if coloured { Style::Colour } else { Style::Plain };
    let mut rendered = match output {
        Output::Text => text(report),
        Output::Report => page(report, style),
        Output::Bcc => bcc(report, &TimeZone::system()),
        Output::Json => report.to_json().unwrap_or_else(|error| {
            // Only a map with keys that are not text cannot be JSON, and a report has none.
            tracing::error!(%error, "a report could not be made into JSON");
            String::new()
        }),
    };
    if !rendered.ends_with('\n') {
        rendered.push('\n');
    }
    rendered
}

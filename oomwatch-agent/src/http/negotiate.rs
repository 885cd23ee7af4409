//! Which format a scraper wants: `Accept`, as RFC 9110 has it and Prometheus sends it.

use crate::metrics::Format;

/// The format that is wanted most; the classic text for whoever does not say, or wants none of ours.
pub(super) fn format(accept: Option<&str>) -> Format {
    let mut best = (Format::Text, 0);
    for wanted in accept.unwrap_or_default().split(',') {
        let mut parts = wanted.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameters: Vec<(&str, &str)> = parts.filter_map(|parameter| parameter.split_once('=')).collect();
        let is = |name: &str, value: &str| {
            parameters.iter().any(|(is, of)| is.eq_ignore_ascii_case(name) && *of == value)
        };
        let has = |name: &str| parameters.iter().any(|(is, _)| is.eq_ignore_ascii_case(name));
        let quality = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case("q"));
        let quality = quality.map_or(1000, |(_, quality)| thousandths(quality));
        let format = if media.eq_ignore_ascii_case("application/openmetrics-text") {
            (!has("version") || is("version", "1.0.0")).then_some(Format::OpenMetrics)
        } else if media.eq_ignore_ascii_case("application/vnd.google.protobuf") {
            (is("proto", "io.prometheus.client.MetricFamily") && is("encoding", "delimited"))
                .then_some(Format::Protobuf)
        } else if media.eq_ignore_ascii_case("text/plain") || media == "*/*" || media == "text/*" {
            Some(Format::Text)
        } else {
            None
        };
        if let Some(format) = format
            && quality > best.1
        {
            best = (format, quality);
        }
    }
    best.0
}

/// `0.75` → 750
fn thousandths(quality: &str) -> u32 {
    let (whole, part) = quality.split_once('.').unwrap_or((quality, ""));
    let digits: String = part.chars().chain("000".chars()).take(3).collect();
    let of = |digits: &str| digits.parse::<u32>().unwrap_or(0);
    (of(whole).saturating_mul(1000)).saturating_add(of(&digits)).min(1000)
}

/// The header that says which format the body has.
pub(super) fn content_type(format: Format) -> &'static str {
    match format {
        Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        Format::Protobuf => {
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scraper_gets_what_it_wants_most() {
        let table = [
            (None, Format::Text),
            (Some(""), Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Format::Text),
            // Prometheus 2.42
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                     text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                Format::OpenMetrics,
            ),
            // Prometheus 2.53, and the same with native histograms
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                     text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ),
                Format::OpenMetrics,
            ),
            (
                Some(
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.5,\
                     application/openmetrics-text;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                ),
                Format::Protobuf,
            ),
            // Prometheus 3
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                     application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
                     text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ),
                Format::OpenMetrics,
            ),
            (Some("text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.8"), Format::Text),
            (Some("application/openmetrics-text; version=0.0.1"), Format::Text),
            (Some("application/openmetrics-text;q=0"), Format::Text),
            (Some("application/vnd.google.protobuf;encoding=text"), Format::Text),
            (Some(";;q=,=;,q"), Format::Text),
        ];
        for (accept, expected) in table {
            assert_eq!(format(accept), expected, "{accept:?}");
        }
    }
}

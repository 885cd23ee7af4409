//! The classic text format, version 0.0.4, from the OpenMetrics text that prometheus-client writes.
//!
//! Its counters are called `x_total` throughout, and it has neither exemplars, nor units, nor an end mark
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

/// Rewrites one format into the other.
pub(super) fn classic(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            // Whether it is a counter's is known only at the next line.
            help = described.split_once(' ');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
            }
            text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            text.push_str(without_exemplar(line));
            text.push('\n');
        }
    }
    text
}

/// A sample without what follows its value. A label's value may itself contain any of it, in quotes.
fn without_exemplar(sample: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (index, byte) in sample.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'#' if !quoted => return sample.get(..index).unwrap_or(sample).trim_end(),
            _ => {}
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::classic;

    #[test]
    fn counters_have_their_name_and_exemplars_go() {
        let openmetrics = "\
# HELP a_kills Kills
# TYPE a_kills counter
a_kills_total{pod=\"x # {\\\"y\"} 2 # {incident_id=\"b-1\"} 1.0 1763710000.5
# HELP a_memory_bytes Memory
# TYPE a_memory_bytes histogram
# UNIT a_memory_bytes bytes
a_memory_bytes_sum 3.0
a_memory_bytes_bucket{le=\"+Inf\"} 1
# EOF
";
        let expected = "\
# HELP a_kills_total Kills
# TYPE a_kills_total counter
a_kills_total{pod=\"x # {\\\"y\"} 2
# HELP a_memory_bytes Memory
# TYPE a_memory_bytes histogram
a_memory_bytes_sum 3.0
a_memory_bytes_bucket{le=\"+Inf\"} 1
";
        assert_eq!(classic(openmetrics), expected);
    }
}

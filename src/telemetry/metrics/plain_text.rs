//! Turns an answer in OpenMetrics into Prometheus's text format 0.0.4.
//!
//! The encoder of `prometheus_client` for that format writes the bounds of buckets in another way (`le="5"` instead of
//! `le="5.0"`). Then the series of a node would depend on what its collector asks for, and alerts that name a bound would
//! be silent for some collectors.

/// The same samples, in the older format: counters are described under the names of their samples, and units, exemplars
/// and the mark of the end are left out.
pub(super) fn from_openmetrics(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    // The description comes before the type, which decides how the description names the metric.
    let mut help = None;
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, words)) = help.take() {
                plain.extend(["# HELP ", name, suffix, " ", words, "\n"]);
            }
            plain.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            // An exemplar stands behind the value. No label has such a sequence, because none holds free text.
            plain.extend([line.split(" # {").next().unwrap_or(line), "\n"]);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_get_their_full_name_and_newer_lines_go() {
        let open = "# HELP a_seconds Time.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total 1.5\n\
                    # TYPE b histogram\nb_sum 5.0\nb_bucket{le=\"5.0\"} 1 # {trace_id=\"0a\"} 4.2\n# EOF\n";
        let plain = "# HELP a_seconds_total Time.\n# TYPE a_seconds_total counter\na_seconds_total 1.5\n\
                     # TYPE b histogram\nb_sum 5.0\nb_bucket{le=\"5.0\"} 1\n";
        assert_eq!(from_openmetrics(open), plain);
    }
}

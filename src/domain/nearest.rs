//! The known name that a misspelt one was probably meant to be. The only place that compares names by likeness.

/// Longest name that is compared, in bytes: any known name is shorter by far, and comparing takes time and memory that
/// grow with the product of both lengths.
const NAME_BYTES_MAX: usize = 64;

/// The known name nearest to `name`, if it is near: one slip in three letters, whatever the case.
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let slips_max = (name.chars().count() / 3).max(1);
    let name = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&name, candidate), candidate))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// The known name that is most like `name`, however far; none for a name that is too long to be compared.
pub fn most_alike<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let likeness = |candidate: &str| strsim::normalized_damerau_levenshtein(name, candidate);
    known.into_iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
}

/// The known name that begins most like `name`, if it is near: `warn` for `warning`.
pub fn nearest_by_start<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    /// Least likeness by Jaro and Winkler, of 1.
    const LIKENESS_MIN: f64 = 0.8;
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let name = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > LIKENESS_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["title", "body", "ttl", "collapse_key"];

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        assert_eq!(nearest("titel", KNOWN), Some("title"));
        assert_eq!(nearest("collapseKey", KNOWN), Some("collapse_key"));
        assert_eq!(nearest("TTL", KNOWN), Some("ttl"));
        assert_eq!(nearest("sound", KNOWN), None);
        assert_eq!(most_alike("tite", KNOWN), Some("title"));
    }

    #[test]
    fn a_long_name_is_compared_with_nothing() {
        let longest = "t".repeat(NAME_BYTES_MAX);
        assert!(most_alike(&longest, KNOWN).is_some());
        // Compared, the megabytes of this one would take a terabyte of steps.
        for long in [NAME_BYTES_MAX + 1, 8 << 20] {
            let name = "t".repeat(long);
            let known = [name.as_str()];
            let found = [nearest(&name, known), most_alike(&name, known), nearest_by_start(&name, known)];
            assert_eq!(found, [None; 3], "{long}");
        }
    }
}

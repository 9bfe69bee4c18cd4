//! Suggestions for misspelt names (`did you mean …`). All comparisons of names by similarity are here.

/// Longest name that is compared, in bytes. All known names are much shorter, and a comparison takes time and memory in
/// proportion to the product of both lengths.
const NAME_BYTES_MAX: usize = 64;

/// The known name nearest to `name`, ignoring case. None if more than one letter in three differs.
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

/// The known name that is most similar to `name`, even if it is not near. None if `name` is too long to compare.
pub fn most_alike<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let similarity = |candidate: &str| strsim::normalized_damerau_levenshtein(name, candidate);
    known.into_iter().max_by(|one, other| similarity(one).total_cmp(&similarity(other)))
}

/// The known name with the most similar start, such as `warn` for `warning`. None if no name is near.
pub fn nearest_by_start<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    /// The least Jaro-Winkler similarity, from 0 to 1.
    const SIMILARITY_MIN: f64 = 0.8;
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let name = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > SIMILARITY_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["title", "body", "ttl", "collapse_key"];

    #[test]
    fn a_misspelling_is_recognised_and_another_word_is_not() {
        assert_eq!(nearest("titel", KNOWN), Some("title"));
        assert_eq!(nearest("collapseKey", KNOWN), Some("collapse_key"));
        assert_eq!(nearest("TTL", KNOWN), Some("ttl"));
        assert_eq!(nearest("sound", KNOWN), None);
        assert_eq!(most_alike("tite", KNOWN), Some("title"));
    }

    #[test]
    fn a_long_name_is_not_compared() {
        let longest = "t".repeat(NAME_BYTES_MAX);
        assert!(most_alike(&longest, KNOWN).is_some());
        // A comparison of names of megabytes would take 10^13 steps.
        for long in [NAME_BYTES_MAX + 1, 8 << 20] {
            let name = "t".repeat(long);
            let known = [name.as_str()];
            let found = [nearest(&name, known), most_alike(&name, known), nearest_by_start(&name, known)];
            assert_eq!(found, [None; 3], "{long}");
        }
    }
}

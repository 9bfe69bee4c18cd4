//! The known name that a misspelt one was probably meant to be.

/// Longer names are no slips of the pen, and comparing them would cost a sender's request too much.
const LONGEST: usize = 64;

/// The known name nearest to `name`, if it is near: one slip in three letters.
pub(super) fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let letters = name.chars().count();
    if letters > LONGEST {
        return None;
    }
    let allowed = (letters / 3).max(1);
    known
        .iter()
        .map(|candidate| (strsim::osa_distance(name, candidate), *candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["title", "body", "ttl", "collapse_key"];
        assert_eq!(nearest("titel", &known), Some("title"));
        assert_eq!(nearest("collapseKey", &known), Some("collapse_key"));
        assert_eq!(nearest("sound", &known), None);
        assert_eq!(nearest(&"t".repeat(65), &known), None);
    }
}

//! Sorted device ids as arguments of a statement that reads neighbours by their range and scattered devices one by one.

use crate::domain::DeviceId;

/// Ids in a range per id that is asked for, up to which the whole range is read. Reading a row of a range costs Postgres a
/// tenth of finding one by its id (docs/queue.md#pages-of-topics).
const SPAN_RATIO_MAX: i64 = 4;

/// Device ids as a statement takes them: one of its two ways to read finds nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::store) struct IdColumns {
    /// Ids that are looked up one by one.
    pub(in crate::store) scattered: Vec<i64>,
    /// The first id of the range that is read. None: all ids are in `scattered`.
    pub(in crate::store) first: Option<i64>,
    /// The last id of that range.
    pub(in crate::store) last: Option<i64>,
    /// Bit `id - first`, as `get_bit` counts bits, says whether an id of the range is asked for.
    pub(in crate::store) wanted: Option<Vec<u8>>,
}

impl IdColumns {
    /// Of ids in ascending order, each once.
    pub(in crate::store) fn of(ids: &[DeviceId]) -> Self {
        let scattered = || Self { scattered: ids.iter().map(|id| id.0).collect(), ..Self::default() };
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Self::default() };
        let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        let span = last.0.saturating_sub(first.0).saturating_add(1);
        let Ok(bits) = usize::try_from(span) else { return scattered() };
        if ids.len() < 2 || span > count.saturating_mul(SPAN_RATIO_MAX) {
            return scattered();
        }
        let mut wanted = vec![0_u8; bits.div_ceil(8)];
        for bit in ids.iter().filter_map(|id| usize::try_from(id.0 - first.0).ok()) {
            if let Some(byte) = wanted.get_mut(bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
        Self { scattered: Vec::new(), first: Some(first.0), last: Some(last.0), wanted: Some(wanted) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(ids: &[i64]) -> IdColumns {
        let ids: Vec<DeviceId> = ids.iter().copied().map(DeviceId).collect();
        IdColumns::of(&ids)
    }

    #[test]
    fn neighbours_are_a_range_and_others_a_list() {
        let near = columns(&[7, 8, 10, 17, 18]);
        assert_eq!((near.first, near.last), (Some(7), Some(18)));
        assert_eq!(near.wanted, Some(vec![0b0000_1011, 0b0000_1100]), "bits 0, 1, 3, 10 and 11");
        assert!(near.scattered.is_empty());
        let far = columns(&[7, 8, 10, 17, 27]);
        assert_eq!(far, IdColumns { scattered: vec![7, 8, 10, 17, 27], ..IdColumns::default() });
        assert_eq!(columns(&[7]).scattered, [7]);
        assert_eq!(columns(&[]), IdColumns::default());
    }

    #[test]
    fn ids_at_the_ends_of_their_numbers_are_no_range() {
        assert_eq!(columns(&[i64::MIN, i64::MAX]).scattered, [i64::MIN, i64::MAX]);
        let last = columns(&[i64::MAX - 1, i64::MAX]);
        assert_eq!((last.first, last.last), (Some(i64::MAX - 1), Some(i64::MAX)));
    }
}

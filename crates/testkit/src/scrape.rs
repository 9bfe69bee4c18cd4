//! One answer of `/metrics`, read by its samples.

use std::collections::{BTreeMap, BTreeSet};

/// The samples of a node at one moment.
#[derive(Debug)]
pub struct Scrape {
    pub text: String,
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    /// Reads an answer in Prometheus's text format.
    pub fn read(text: String) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            (sample.to_owned(), value.parse().unwrap())
        });
        Self { samples: samples.collect(), text }
    }

    /// The value of a sample, written as in the answer: `pushpost_leader`, `pushpost_in_flight{lane="shop/fcm"}`.
    pub fn get(&self, sample: &str) -> Option<f64> {
        self.samples.get(sample).copied()
    }

    /// As [`Self::get`], of a sample that must be there.
    #[track_caller]
    pub fn value(&self, sample: &str) -> f64 {
        self.get(sample).unwrap_or_else(|| panic!("{sample} in\n{}", self.text))
    }

    /// The sum over all samples that begin like this, with their name and labels.
    pub fn sum(&self, beginning: &str) -> f64 {
        self.samples.iter().filter(|(sample, _)| sample.starts_with(beginning)).map(|(_, value)| value).sum()
    }

    /// The names of all metrics.
    pub fn names(&self) -> BTreeSet<&str> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.split(' ').next()).collect()
    }

    /// The number of samples.
    pub fn series(&self) -> usize {
        self.samples.len()
    }
}

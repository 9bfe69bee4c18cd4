//! The process as the system sees it, under the names that client libraries of Prometheus use. Read at each scrape.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::process::{Resource, getrlimit};

use super::names::{self, Names};

/// Ticks of `/proc/self/stat` in a second: 100 on every machine that Linux has a present port for, as client libraries of
/// Prometheus assume too.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn register(names: &mut Names) {
    names.add_collector(Process { started_at: read_start() });
}

#[derive(Debug)]
struct Process {
    /// Seconds since 1970. None: the system does not tell.
    started_at: Option<f64>,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_seconds) {
            let help = "User and system CPU time of this process";
            add(&mut encoder, "process_cpu_seconds_total", help, &ConstCounter::new(seconds))?;
        }
        if let Some(bytes) = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_bytes)
        {
            add(&mut encoder, "process_resident_memory_bytes", "Resident memory", &ConstGauge::new(bytes))?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            let open = ConstGauge::new(open.count() as u64);
            add(&mut encoder, "process_open_fds", "Open file descriptors", &open)?;
        }
        let max = ConstGauge::new(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX));
        add(&mut encoder, "process_max_fds", "Limit of open file descriptors", &max)?;
        match self.started_at {
            Some(seconds) => {
                let help = "Start of the process, in seconds since 1970";
                add(&mut encoder, "process_start_time_seconds", help, &ConstGauge::new(seconds))
            }
            None => Ok(()),
        }
    }
}

fn add(
    encoder: &mut DescriptorEncoder,
    name: &'static str,
    help: &str,
    value: &impl EncodeMetric,
) -> Result<(), std::fmt::Error> {
    let kind = value.metric_type();
    let (stem, unit) = names::split(name, kind);
    value.encode(encoder.encode_descriptor(stem, &format!("{help}."), unit.as_ref(), kind)?)
}

fn read_start() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    start_seconds(&stat, &fs::read_to_string("/proc/stat").ok()?)
}

/// A number of `/proc/self/stat`. The first field that is read is the third one, because the second is the program's name,
/// which may contain anything.
fn number(stat: &str, field: usize) -> Option<f64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(field.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((number(stat, 14)? + number(stat, 15)?) / TICKS_PER_SECOND)
}

fn start_seconds(stat: &str, machine: &str) -> Option<f64> {
    let booted_at: f64 = machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(booted_at + number(stat, 22)? / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let size = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(size.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_shifts_no_field() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 5 0 1000 9000000 25";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(start_seconds(stat, "cpu 1 2 3\nbtime 1700000000\n"), Some(1_700_000_010.0));
        assert_eq!(resident_bytes("Name:\ta\nVmRSS:\t    1500 kB\nThreads:\t5\n"), Some(1_536_000));
    }
}

//! Processor time and memory of the nodes, the stores, the driver and the whole machine.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Args, Outcome, QUIET};

/// Processor time in seconds and memory: totals at one time, or the difference between two times.
pub(super) struct Usage {
    pub(super) at: Instant,
    pub(super) machine: f64,
    pub(super) nodes: f64,
    pub(super) stores: f64,
    pub(super) driver: f64,
    pub(super) nodes_mib: f64,
}

/// Units per second of processor times in `/proc`: 100 on every platform.
pub(super) const TICKS: f64 = 100.0;

impl Usage {
    pub(super) fn now(args: &Args) -> Outcome<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let fields = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .take(8);
        let fields: Vec<f64> = fields.map(str::parse).collect::<Result<_, _>>()?;
        // Everything except idle and iowait. Time that the hypervisor takes (steal) is noise, too.
        let busy: f64 = fields
            .iter()
            .enumerate()
            .filter(|(field, _)| ![3, 4].contains(field))
            .map(|(_, ticks)| ticks)
            .sum();
        let nodes_kib: f64 = args.node_pids.iter().map(|pid| resident_kib(*pid)).sum();
        Ok(Self {
            at: Instant::now(),
            machine: busy / TICKS,
            nodes: args
                .node_pids
                .iter()
                .map(|pid| process(*pid).map_or(0.0, |(_, time)| time))
                .sum(),
            stores: family(&args.store_pids)?,
            driver: process(std::process::id()).map_or(0.0, |(_, time)| time),
            nodes_mib: nodes_kib / 1_024.0,
        })
    }

    /// Processor time since `before`, with the memory at the end.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            at: self.at,
            machine: self.machine - before.machine,
            nodes: self.nodes - before.nodes,
            stores: self.stores - before.stores,
            driver: self.driver - before.driver,
            nodes_mib: self.nodes_mib,
        }
    }

    pub(super) fn others(&self) -> f64 {
        self.machine - self.nodes - self.stores - self.driver
    }
}

/// A process's parent and processor time.
pub(super) fn process(pid: u32) -> Option<(u32, f64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Skip the program's name, which may contain blanks and parentheses.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some((fields.get(1)?.parse().ok()?, ticks / TICKS))
}

/// Processor time of these processes and their children: PostgreSQL has a process per connection.
pub(super) fn family(parents: &[u32]) -> Outcome<f64> {
    let mut time = 0.0;
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if let Some((parent, of_process)) = process(pid)
            && (parents.contains(&pid) || parents.contains(&parent))
        {
            time += of_process;
        }
    }
    Ok(time)
}

pub(super) fn resident_kib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(f64::NAN)
}

pub(super) async fn wait_for_quiet(args: &Args) {
    const SAMPLE: Duration = Duration::from_millis(400);
    let give_up = Instant::now() + Duration::from_secs(args.quiet_within);
    while Instant::now() < give_up {
        let Ok(before) = Usage::now(args) else { return };
        sleep(SAMPLE).await;
        if Usage::now(args)
            .is_ok_and(|after| after.since(&before).others() < QUIET.0 * SAMPLE.as_secs_f64())
        {
            return;
        }
    }
}

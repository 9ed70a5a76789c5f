//! The result of one run, as a line of the table.

use std::{fmt, time::Duration};

use super::{
    Args, Failure, MAX_P99, QUIET,
    run::{Part, Schedule, Times},
    usage::Usage,
};

pub(super) struct Report {
    pub(super) label: String,
    pub(super) rate: u64,
    pub(super) seconds: f64,
    pub(super) delivered: Times,
    pub(super) confirmed: Times,
    pub(super) lag: Times,
    pub(super) lost: u64,
    pub(super) duplicates: u64,
    pub(super) out_of_order: u64,
    pub(super) usage: Usage,
    pub(super) trouble: Option<Failure>,
}

impl Report {
    pub(super) fn new(args: &Args, rate: u64, usage: Usage) -> Self {
        Self {
            label: args.label.clone(),
            rate,
            seconds: Duration::from_secs(args.seconds).as_secs_f64(),
            delivered: Times::default(),
            confirmed: Times::default(),
            lag: Times::default(),
            lost: 0,
            duplicates: 0,
            out_of_order: 0,
            usage,
            trouble: None,
        }
    }

    pub(super) fn add(&mut self, part: Part, schedule: &Schedule) {
        match part {
            Part::Received(received) => {
                self.lost += schedule.total - received.distinct;
                self.duplicates += received.duplicates;
                self.out_of_order += received.out_of_order;
                self.delivered.append(received.times);
            }
            Part::Confirmed(times) => self.confirmed.append(times),
        }
    }

    pub(super) fn sort(&mut self) {
        for times in [&mut self.delivered, &mut self.confirmed, &mut self.lag] {
            times.of_window.sort_unstable();
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a few million")]
    pub(super) fn per_second(&self, times: &Times) -> f64 {
        times.in_window as f64 / self.seconds
    }

    /// Whether messages were lost, duplicated or out of order.
    pub(super) fn is_void(&self) -> bool {
        self.lost + self.duplicates + self.out_of_order > 0 || self.trouble.is_some()
    }

    /// Whether the driver's own lateness is over a tenth of the latency.
    pub(super) fn driver_is_late(&self) -> bool {
        self.lag.percentile(990) > 0.1 * self.delivered.percentile(990)
    }

    /// Whether the nodes keep up with the rate.
    pub(super) fn holds(&self) -> bool {
        !self.is_void() && self.delivered.percentile(990) <= MAX_P99.as_secs_f64() * 1_000.0
    }

    pub(super) fn verdict(&self) -> String {
        let mut words = Vec::new();
        if self.is_void() {
            words.push(format!(
                "VOID: {} lost, {} duplicated, {} out of order",
                self.lost, self.duplicates, self.out_of_order
            ));
        }
        if let Some(trouble) = &self.trouble {
            words.push(trouble.to_string().trim().replace('\n', " "));
        }
        if self.driver_is_late() {
            words.push(format!(
                "driver late: p99 {:.1} ms",
                self.lag.percentile(990)
            ));
        }
        if self.usage.others() > QUIET.1 * self.seconds {
            words.push("noisy".to_owned());
        }
        if words.is_empty() {
            "ok".to_owned()
        } else {
            words.join("; ")
        }
    }
}

pub(super) const HEAD: &str = concat!(
    "                     messages/s                   ms from due to MESSAGE            to RECEIPT      nodes           cores used by\n",
    "                        due   done deliveries/s     p50    p90    p99    max      p50    p99   µs/del.   MiB      nodes stores driver others",
);

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (usage, of) = (&self.usage, Times::percentile);
        let delivered = self.per_second(&self.delivered);
        write!(
            f,
            "{:<20} {:>6} {:>6.0} {delivered:>12.0} ",
            self.label,
            self.rate,
            self.per_second(&self.confirmed)
        )?;
        let latency = [500, 900, 990, 1_000].map(|q| of(&self.delivered, q));
        write!(
            f,
            " {:>6.1} {:>6.1} {:>6.1} {:>6.0}",
            latency[0], latency[1], latency[2], latency[3]
        )?;
        write!(
            f,
            "   {:>6.1} {:>6.1}",
            of(&self.confirmed, 500),
            of(&self.confirmed, 990)
        )?;
        let (cost, share) = (
            usage.nodes * 1e6 / (delivered * self.seconds),
            |time: f64| time / self.seconds,
        );
        write!(f, "   {cost:>6.2} {:>6.0}   ", usage.nodes_mib)?;
        for time in [usage.nodes, usage.stores, usage.driver, usage.others()] {
            write!(f, " {:>6.2}", share(time))?;
        }
        write!(f, "  {}", self.verdict())
    }
}

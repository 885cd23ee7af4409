//! Options about metrics.

use std::time::Duration;

use clap::Args;

/// Which series there are, and for how long.
#[derive(Args, Clone, Debug)]
pub struct MetricsOptions {
    /// How many containers get series of their own; kills of further ones count together
    #[arg(long, env = "OOMWATCH_METRICS_CONTAINERS", default_value_t = 4096,
        value_parser = clap::value_parser!(u16).range(1..), value_name = "CONTAINERS")]
    pub metrics_containers: u16,
    /// How long a container's series stay after its pod has gone, minutes: longer than two scrapes are apart. Those
    /// that never counted a kill stay for 10 minutes at most
    #[arg(long, env = "OOMWATCH_METRICS_GRACE_MINUTES", default_value_t = 60,
        value_parser = clap::value_parser!(u16).range(1..=10_080), value_name = "MINUTES")]
    pub metrics_grace_minutes: u16,
}

impl MetricsOptions {
    /// How long a container's series stay after its pod has gone.
    pub fn grace(&self) -> Duration {
        Duration::from_mins(self.metrics_grace_minutes.into())
    }
}

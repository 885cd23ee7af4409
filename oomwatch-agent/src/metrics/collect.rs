//! Every metric's values, read when a scrape asks.

use std::{fmt, fs, sync::atomic::Ordering, time::SystemTime};

use oomwatch_common::{counters::ProbeCounter, scope::Scope};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, histogram::Histogram},
    registry::Unit,
};

use super::{
    Values,
    containers::Series,
    float, own,
    table::{Id, Kind, METRICS},
};
use crate::{
    losses::Stage,
    marks::oom_kills,
    tally::{Outcome, Tally},
};

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Values")
    }
}

impl Collector for Values {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (series, number, dropped) = {
            let containers = self.containers();
            (containers.snapshot(), containers.number(), containers.dropped())
        };
        for metric in METRICS {
            let base = metric.name.strip_suffix("_total").unwrap_or(metric.name);
            let (stem, unit) = match (base.strip_suffix("_bytes"), base.strip_suffix("_seconds")) {
                (Some(stem), _) => (stem, Some(Unit::Bytes)),
                (_, Some(stem)) => (stem, Some(Unit::Seconds)),
                _ => (base, None),
            };
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let to = encoder.encode_descriptor(stem, metric.help, unit.as_ref(), kind)?;
            let mut to = Samples { to, label: metric.labels.first().copied().unwrap_or_default() };
            match metric.id {
                Id::OomKills => oom_kills_of(&series, &mut to)?,
                Id::LastOom => last_oom_of(&series, &mut to)?,
                Id::Containers => to.gauge(float(number as u64))?,
                Id::ContainersDropped => to.counter(dropped)?,
                id => self.one(id, to)?,
            }
        }
        Ok(())
    }
}

impl Values {
    fn one(&self, id: Id, mut to: Samples<'_>) -> fmt::Result {
        let later = self.later.get();
        let probe = later.and_then(|later| later.probe.as_ref());
        match id {
            Id::OomKills | Id::LastOom | Id::Containers | Id::ContainersDropped => Ok(()),
            Id::Incidents => to.tally(&self.incidents),
            Id::VictimMemory => to.histogram(&self.victim_memory),
            Id::Limit => to.histogram(&self.limit),
            Id::ReportLatency => to.histogram(&self.latency),
            Id::KillToExit => to.histogram(&self.to_exit),
            Id::ProbeKills => {
                let seen = probe.and_then(|(_, audit)| audit.seen());
                to.counter(seen.unwrap_or_else(|| self.kills.load(Ordering::Relaxed)))
            }
            Id::KernelKills => {
                // Without the file there is no sample: 0 would be a reset.
                let kills = fs::read(&self.vmstat).ok().and_then(|vmstat| oom_kills(&vmstat));
                kills.map_or(Ok(()), |kills| to.counter(kills))
            }
            Id::EventsLost => {
                let full = probe.and_then(|(counters, _)| counters.get(ProbeCounter::RingBufferFull));
                to.labelled_counter("ring_buffer", full.unwrap_or(0))?;
                to.tally::<Stage>(&self.losses)
            }
            Id::KillsLost => {
                if let Some((_, audit)) = probe {
                    audit.look();
                }
                to.tally(&self.progress.lost)
            }
            Id::Ready => to.gauge(f64::from(u8::from(self.health.is_ready()))),
            Id::ProbeInfo => later.map_or(Ok(()), |later| to.info(later.level)),
            Id::BuildInfo => to.info(env!("CARGO_PKG_VERSION")),
            Id::CaptureReads => to.tally(&self.reads),
            Id::Attributions => to.tally(&self.named),
            Id::KubeletRequests => self.kubelet.as_ref().map_or(Ok(()), |asked| to.tally(asked)),
            Id::KubernetesEvents => self.events.as_ref().map_or(Ok(()), |told| to.tally(told)),
            Id::QueueDepth | Id::QueueCapacity => {
                let Some(queue) = later.map(|later| &later.queue) else { return Ok(()) };
                let number = if id == Id::QueueCapacity { queue.places() } else { queue.waiting() };
                to.gauge(float(number as u64))
            }
            Id::JournalWrites => to.tally(self.history.outcomes()),
            Id::JournalRemoved => to.tally(self.history.removed()),
            Id::JournalBytes | Id::JournalIncidents | Id::JournalWritable => {
                let Some(stats) = self.history.stats() else { return Ok(()) };
                to.gauge(match id {
                    Id::JournalBytes => float(stats.bytes),
                    Id::JournalIncidents => float(stats.incidents),
                    _ => f64::from(u8::from(stats.writable)),
                })
            }
            Id::HttpRequests => to.tally(&self.http.replied),
            Id::HttpClosed => to.tally(&self.http.closed),
            Id::HttpConnections => {
                self.http.connections().map_or(Ok(()), |number| to.gauge(float(number as u64)))
            }
            Id::ResidentMemory => own::resident_memory().map_or(Ok(()), |bytes| to.gauge(bytes)),
            Id::CpuSeconds => own::cpu_seconds().map_or(Ok(()), |seconds| to.float_counter(seconds)),
            Id::StartTime => {
                let since = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                to.gauge(since.as_secs_f64())
            }
            Id::OpenFds => own::open_fds().map_or(Ok(()), |fds| to.gauge(fds)),
        }
    }
}

fn oom_kills_of(series: &[Series], to: &mut Samples<'_>) -> fmt::Result {
    for series in series {
        for (scope, kills) in Scope::ALL.iter().zip(&series.kills) {
            let Some(kills) = kills else { continue };
            let labels = (series.labels.as_slice(), [("scope", scope.name())]);
            kills.encode(to.to.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn last_oom_of(series: &[Series], to: &mut Samples<'_>) -> fmt::Result {
    for series in series {
        if let Some(at) = series.last_oom {
            to.to.encode_family(&series.labels.as_slice())?.encode_gauge(&at)?;
        }
    }
    Ok(())
}

/// Where a metric's samples go.
struct Samples<'a> {
    to: MetricEncoder<'a>,
    /// The metric's only one, where it has one.
    label: &'static str,
}

impl Samples<'_> {
    fn counter(self, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.to)
    }

    fn float_counter(self, value: f64) -> fmt::Result {
        ConstCounter::new(value).encode(self.to)
    }

    fn labelled_counter(&mut self, value: &'static str, count: u64) -> fmt::Result {
        self.add(&[(self.label, value)], &ConstCounter::new(count))
    }

    fn gauge(self, value: f64) -> fmt::Result {
        ConstGauge::new(value).encode(self.to)
    }

    fn info(&mut self, value: &'static str) -> fmt::Result {
        self.add(&[(self.label, value)], &ConstGauge::new(1_i64))
    }

    fn histogram(self, histogram: &Histogram) -> fmt::Result {
        histogram.encode(self.to)
    }

    fn tally<O: Outcome>(&mut self, tally: &Tally<O>) -> fmt::Result {
        for outcome in O::ALL {
            self.labelled_counter(outcome.name(), tally.get(*outcome))?;
        }
        Ok(())
    }

    fn add(&mut self, labels: &impl EncodeLabelSet, value: &impl EncodeMetric) -> fmt::Result {
        value.encode(self.to.encode_family(labels)?)
    }
}

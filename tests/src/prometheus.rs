//! A real Prometheus that scrapes the agent, in each way that it is deployed and in each format.

use std::{
    env,
    fmt::Write as _,
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    deadline::{PATIENCE, wait_for},
    http,
    scraping::{WAYS, configuration},
};

/// A running Prometheus; killed when dropped, its folder with it.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    dir: PathBuf,
}

/// One series of an answer.
#[derive(Debug)]
pub struct Sample {
    /// Its labels.
    pub labels: Value,
    /// Its value.
    pub value: f64,
}

impl Prometheus {
    /// Starts it, with what `deploy` has for it, and waits until it has scraped `agent` in each way.
    ///
    /// # Errors
    /// It does not get ready, or cannot scrape.
    pub fn start(agent: SocketAddr, deploy: &Path) -> Result<Self> {
        let binary = env::var_os("OOMWATCH_PROMETHEUS").unwrap_or_else(|| "prometheus".into());
        let dir = env::temp_dir().join(format!("oomwatch-prometheus-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("prometheus.yml"), configuration(agent, deploy)?.to_string())?;
        // A port that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(&binary)
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--enable-feature=exemplar-storage,native-histograms")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(dir.join("log"))?)
            .spawn()
            .with_context(|| {
                format!("cannot run {}: set OOMWATCH_PROMETHEUS, or run `cargo xtask test`", binary.display())
            })?;
        let prometheus = Self { child, address, dir };
        let mut targets = Vec::new();
        let scraped = wait_for("Prometheus to have scraped the agent in each way", PATIENCE, || {
            targets = prometheus.query("up").unwrap_or_default();
            Ok((targets.iter().filter(|up| up.value > 0.5).count() == WAYS.len()).then_some(()))
        });
        scraped.with_context(|| format!("{targets:?}. {}", prometheus.log()))?;
        Ok(prometheus)
    }

    /// What an expression comes to now.
    ///
    /// # Errors
    /// It is no expression.
    pub fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let data = self.ask(&format!("/api/v1/query?query={}", encoded(expression)))?;
        let series = data.pointer("/result").and_then(Value::as_array).context("no result")?;
        // A native histogram has no value of its own.
        let samples = series.iter().map(|series| {
            let value =
                series.pointer("/value/1").and_then(Value::as_str).and_then(|value| value.parse().ok());
            Sample {
                labels: series.get("metric").cloned().unwrap_or_default(),
                value: value.unwrap_or(f64::NAN),
            }
        });
        Ok(samples.collect())
    }

    /// Waits until an expression comes to one series that fits.
    ///
    /// # Errors
    /// It does not, in time.
    pub fn wait_for(&self, expression: &str, fits: impl Fn(f64) -> bool) -> Result<f64> {
        let mut last = Vec::new();
        let waited = wait_for(expression, PATIENCE, || {
            last = self.query(expression)?;
            Ok(match last.as_slice() {
                [one] if fits(one.value) => Some(one.value),
                _ => None,
            })
        });
        waited.with_context(|| format!("{expression} is {last:?}. {}", self.log()))
    }

    /// What Grafana offers for a variable with this query, `label_values(SELECTOR, LABEL)`.
    ///
    /// # Errors
    /// It is no such query.
    pub fn label_values(&self, query: &str) -> Result<Vec<Value>> {
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (selector, label) = inner.and_then(|inner| inner.rsplit_once(", ")).context("no label_values")?;
        let values = self.ask(&format!("/api/v1/label/{label}/values?match[]={}", encoded(selector)))?;
        Ok(values.as_array().cloned().unwrap_or_default())
    }

    /// The ids of incidents that exemplars of a series have.
    ///
    /// # Errors
    /// It is no series.
    pub fn exemplars(&self, series: &str) -> Result<Vec<String>> {
        let path = format!("/api/v1/query_exemplars?query={}&start=0&end=99999999999", encoded(series));
        let data = self.ask(&path)?;
        let exemplars = data.as_array().context("no exemplars")?.iter();
        let exemplars = exemplars.filter_map(|series| series.get("exemplars")?.as_array()).flatten();
        let ids = exemplars.filter_map(|exemplar| exemplar.pointer("/labels/incident_id")?.as_str());
        Ok(ids.map(str::to_owned).collect())
    }

    /// `data` of one of its API's answers.
    ///
    /// # Errors
    /// It answers with an error.
    pub fn ask(&self, path: &str) -> Result<Value> {
        let answer = http::get(self.address, path, &[])?;
        ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.body);
        let mut answer: Value = serde_json::from_str(&answer.body)?;
        Ok(answer.get_mut("data").map(Value::take).unwrap_or_default())
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let errors: Vec<&str> = log.lines().filter(|line| !line.contains("level=info")).collect();
        format!("Prometheus's log: {}", errors.join("\n    "))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").unwrap_or_default();
        }
        encoded
    })
}

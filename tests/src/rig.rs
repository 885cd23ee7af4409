//! The agent beside a stand-in kubelet and API server, and kills in the cgroups of a pod that the kubelet lists.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{agent::Agent, bench::Bench, here::binary, standin::Standin, status::Status};

/// Of the captured list: the pod, and its container of this name.
const CAPTURED_UID: &str = "4e3b9b0a-c2ea-401c-9a5c-0c1a15523d69";
const CAPTURED_ID: &str = "6f7066ff5d9d4d090ef46e2471a431d08bb5b269f25f5ba9758b2cdb44e8c0d3";

/// The kernel's log and its rate limit are one for all tests: one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A stand-in, the agent beside it, and a pod's cgroup that only this run has.
#[derive(Debug)]
pub struct Rig {
    /// The kubelet and the API server.
    pub standin: Standin,
    /// The agent.
    pub bench: Bench,
    /// The pod's uid.
    pub pod: String,
    /// The id of its container `steady`.
    pub id: String,
    hog: PathBuf,
    arguments: Vec<String>,
    _alone: MutexGuard<'static, ()>,
}

impl Rig {
    /// Starts all of it. `prepare` writes the stand-in's files before the agent starts; `more` are the agent's options.
    ///
    /// # Errors
    /// Something does not get ready, or this is not root.
    pub fn start(
        standin: &Path,
        hog: &Path,
        name: &str,
        more: &[&str],
        prepare: impl FnOnce(&Standin) -> Result<()>,
    ) -> Result<Self> {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let root = Status::of_process(std::process::id())?.number("Uid") == Some(0);
        ensure!(root, "real kills need root: run the tests as root");
        let dir = env::temp_dir().join(format!("oomwatch-standin-{}-{name}", std::process::id()));
        let standin = Standin::start(standin, dir)?;
        let pod = format!("{:08x}-c2ea-401c-9a5c-0c1a15523d69", std::process::id());
        let id = format!("{:064x}", u64::from(std::process::id()) << 32);
        let captured = fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/kubelet/api-multi-t2.json"),
        )?;
        standin.set("pods.json", &captured.replace(CAPTURED_UID, &pod).replace(CAPTURED_ID, &id))?;
        prepare(&standin)?;
        let mut arguments = vec!["--output".to_owned(), "json".to_owned()];
        arguments.extend(standin.options()?);
        arguments.extend(more.iter().map(|&option| option.to_owned()));
        let bench = Bench::beside(agent(&arguments)?, hog.to_owned(), false)?;
        Ok(Self { standin, bench, pod, id, hog: hog.to_owned(), arguments, _alone: alone })
    }

    /// Kills the agent, as SIGKILL does, and starts another with the same options, but for this one's value.
    ///
    /// # Errors
    /// It does not get ready.
    pub fn replace_agent(&mut self, option: &str, value: &str) -> Result<()> {
        self.bench.agent.kill()?;
        let given = self.arguments.iter().position(|argument| argument == option);
        let place = given.and_then(|place| self.arguments.get_mut(place + 1));
        value.clone_into(place.with_context(|| format!("{option} was not given"))?);
        self.bench = Bench::beside(agent(&self.arguments)?, self.hog.clone(), false)?;
        Ok(())
    }

    /// Makes a kill in a container of the pod, and gives the agent's report of it.
    ///
    /// # Errors
    /// It is not reported.
    pub fn kill_in(&mut self, container: &str) -> Result<Value> {
        self.kill_at(&format!("/kubepods/burstable/pod{}/{container}", self.pod))
    }

    /// The same in any cgroup.
    ///
    /// # Errors
    /// It is not reported.
    pub fn kill_at(&mut self, path: &str) -> Result<Value> {
        let memcg = self.bench.memcg(path, 32)?;
        self.bench.begin_within_rate_limit()?;
        let mut hog = self.bench.hog(&memcg, &["anon=256"])?;
        hog.go()?;
        hog.wait_for_kill()?;
        let observed = self.bench.observe(&[hog.pid])?;
        let report = observed.reports.first().context("no report")?;
        Ok(serde_json::from_str(&report.line)?)
    }

    /// The same in the container that the kubelet lists.
    ///
    /// # Errors
    /// It is not reported.
    pub fn kill(&mut self) -> Result<Value> {
        self.kill_in(&self.id.clone())
    }

    /// The Events of the namespace `default`.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn events(&self) -> Result<Vec<Value>> {
        self.standin.events("default")
    }

    /// Ends the agent and gives its log.
    ///
    /// # Errors
    /// It ends with another code than 0.
    pub fn end(mut self) -> Result<String> {
        self.bench.agent.terminate()?;
        let (status, _) = self.bench.agent.wait()?;
        let log = self.bench.agent.log();
        ensure!(status.success(), "ended with {status}. {log}");
        Ok(log)
    }
}

fn agent(arguments: &[String]) -> Result<Agent> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Agent::start(&binary()?, &arguments)
}

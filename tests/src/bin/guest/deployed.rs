//! The agent as it is deployed: the image, under containerd and runc, with what the DaemonSet grants it and no more,
//! beside containers that the kernel kills in.

mod capabilities;
mod cluster;
mod kills;
mod paranoid;
mod pods;

use std::{env, fs, path::Path, process::Command, time::Instant};

use anyhow::{Context, Result, bail};
use oomwatch_tests::{
    agent::Agent,
    deployment::{
        containerd::Containerd,
        oci::{self, Node},
        pod::{self, Container, PodSpec},
    },
};

use self::{cluster::Cluster, pods::NodesPod};
use crate::suite::{claim_guest, say};

const FOLDER: &str = "/run/oomwatch-containerd";
/// The agent's own pod, of the QoS class that its requests give it.
const POD: &str = "/kubepods.slice/kubepods-pod5d0f6b0e_1c52_4b3c_9a77_6c1f0b2e9d44.slice";
const ID: &str = "0b7e1c52d94f4a3c8e6f5d0f6b0e1c524b3c9a776c1f0b2e9d44a1b2c3d4e5f6";

/// What comes with the command.
pub(crate) struct Inputs<'a> {
    /// The DaemonSet, rendered, as JSON.
    pub(crate) daemon_set: &'a str,
    /// The OCI archive.
    pub(crate) image: &'a str,
    /// The image's name in it.
    pub(crate) name: &'a str,
    /// The folder with a kubelet's captured answers.
    pub(crate) pods: &'a str,
    /// `oomwatch-standin`.
    pub(crate) standin: &'a str,
}

/// The node.
pub(crate) struct World {
    containerd: Containerd,
    pod: PodSpec,
    container: Container,
    pods: Vec<NodesPod>,
    cluster: Cluster,
}

/// With which capabilities the agent is run.
#[derive(Clone, Copy)]
pub(crate) enum Granted<'a> {
    /// Those of the manifest.
    All,
    /// But one.
    But(&'a str),
}

type Case = (String, Box<dyn Fn(&World) -> Result<()>>);

/// Runs every case, and says how each went in the words of Rust's own test harness.
pub(crate) fn run(inputs: &Inputs<'_>) -> Result<()> {
    claim_guest()?;
    let begun = Instant::now();
    let world = World::new(inputs)?;
    // In this order: the first leaves the node as the others want it.
    let mut cases: Vec<Case> = vec![
        ("perf_event_paranoid_of_debian_costs_nothing".to_owned(), Box::new(paranoid::costs_nothing)),
        ("kills_in_pods_are_reported_by_their_names".to_owned(), Box::new(kills::are_named)),
    ];
    for capability in &world.container.security_context.capabilities.add {
        let dropped = capability.clone();
        cases.push((
            format!("without_{}_what_the_manifest_says_is_lost", capability.to_lowercase()),
            Box::new(move |world| capabilities::without(world, &dropped)),
        ));
    }
    say(&format!("\nrunning {} tests of deploy/ under containerd\n", cases.len()))?;
    let (mut passed, mut failures) = (0_u32, 0_u32);
    for (name, case) in cases {
        say(&format!("test {name} ... "))?;
        let started = Instant::now();
        match case(&world) {
            Ok(()) => {
                passed += 1;
                say(&format!("ok ({:.1} s)\n", started.elapsed().as_secs_f64()))?;
            }
            Err(error) => {
                // At once, and not at the end: that the VM's time limit may keep from being printed.
                say(&format!("FAILED\n{error:#}\n"))?;
                failures += 1;
                world.containerd.remove(ID);
            }
        }
    }
    let outcome = if failures == 0 { "ok" } else { "FAILED" };
    say(&format!(
        "\ntest result: {outcome}. {passed} passed; {failures} failed; 0 skipped; finished in {:.2}s\n",
        begun.elapsed().as_secs_f64()
    ))?;
    if failures == 0 { Ok(()) } else { bail!("{failures} failed") }
}

impl World {
    fn new(inputs: &Inputs<'_>) -> Result<Self> {
        let daemon_set =
            fs::read(inputs.daemon_set).with_context(|| format!("cannot read {}", inputs.daemon_set))?;
        let (pod, container) = pod::of_daemon_set(&serde_json::from_slice(&daemon_set)?)?;
        let pods = pods::read(Path::new(inputs.pods))?;
        for pod in &pods {
            pod.write_log_names(Path::new("/var/log"))?;
        }
        let cluster =
            Cluster::start(Path::new(inputs.standin), &Path::new(inputs.pods).join(pods::KUBELETS))?;
        let containerd = Containerd::start(Path::new(FOLDER), Path::new(inputs.image), inputs.name)?;
        Ok(Self { containerd, pod, container, pods, cluster })
    }

    /// The command that runs the agent.
    fn agent(&self, granted: Granted<'_>) -> Result<Command> {
        let mut container = self.container.clone();
        let capabilities = &mut container.security_context.capabilities.add;
        match granted {
            Granted::All => {}
            Granted::But(dropped) => capabilities.retain(|capability| capability != dropped),
        }
        let base = self.containerd.specification(&oci::capabilities(&container))?;
        let cgroup = agents_cgroup();
        let node = Node {
            name: cluster::NODE,
            address: cluster::ADDRESS,
            api_server: (cluster::ADDRESS, cluster::API_PORT),
            rootfs: &self.containerd.rootfs,
            cgroup: &cgroup,
            network: Path::new(cluster::NETWORK),
            service_account: &self.cluster.service_account(),
        };
        let configuration = oci::configuration(base, &self.pod, &container, &node)?;
        self.containerd.run(ID, &configuration)
    }

    /// The agent, ready.
    fn start_agent(&self, granted: Granted<'_>) -> Result<Agent> {
        Agent::start_command(self.agent(granted)?)
    }

    /// What a command says in the agent's container.
    fn exec(&self, words: &[&str]) -> Result<String> {
        self.containerd.exec(ID, words)
    }

    /// A container that hogs memory until it is killed, below a limit in MiB; nothing else is of interest of it.
    fn hog(&self, id: &str, cgroup: &str, limit: u64) -> Result<()> {
        let program = env::current_exe().context("cannot tell the path of this program")?;
        let output = self
            .containerd
            .ctr()
            .args(["run", "--rm", "--cgroup", cgroup, "--memory-limit", &(limit << 20).to_string()])
            .arg("--mount")
            .arg(format!("type=bind,src={},dst=/hog,options=rbind:ro", program.display()))
            .args([&self.containerd.image, id, "/hog", "hog", &format!("anon={}", limit * 4)])
            .output()
            .context("cannot run ctr")?;
        // 128 and SIGKILL.
        if output.status.code() == Some(137) {
            return Ok(());
        }
        bail!("the hog was not killed: {}: {}", output.status, String::from_utf8_lossy(&output.stderr))
    }
}

fn agents_cgroup() -> String {
    format!("{POD}/cri-containerd-{ID}.scope")
}

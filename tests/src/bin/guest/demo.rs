//! `oomwatch-guest demo`: three OOM kills as stories, each followed by the agent's report of it.

use std::{env, ops::ControlFlow, time::Duration};

use anyhow::{Result, bail, ensure};
use oomwatch_tests::{
    agent::Agent,
    deadline::PATIENCE,
    hog::Hog,
    lines::{Lines, Next},
    memcg::{Hierarchy, Version},
};

use crate::suite::{agent_binary, claim_guest, say};

/// A page comes at once; where its end is cannot be seen but by the silence behind it.
const SILENCE: Duration = Duration::from_millis(700);
const POD: &str = "/kubepods.slice/kubepods-burstable.slice/\
                   kubepods-burstable-pod4f8e2a19_63b7_4d2c_a9e5_71c0d8b3f256.slice";

/// Runs the three.
pub(crate) fn run() -> Result<()> {
    claim_guest()?;
    let mut agent = Agent::start(&agent_binary(), &["--output", "report"])?;
    say(&format!("oomwatch is running, probe level {}.\n", agent.level))?;
    let reports = Lines::of(agent.take_stdout()?);
    let hierarchy = Hierarchy::mounted()?;
    container(&hierarchy, &reports)?;
    if hierarchy.version == Version::V2 {
        group(&hierarchy, &reports)?;
    } else {
        say("\n2. A group kill: left out, memory.oom.group is of cgroup v2.\n")?;
    }
    node(&reports)?;
    agent.terminate()?;
    let (status, took) = agent.wait()?;
    ensure!(status.success(), "the agent ended with {status}. {}", agent.log());
    say(&format!("\noomwatch was told to end, and did within {} ms.\n", took.as_millis()))
}

fn container(hierarchy: &Hierarchy, reports: &Lines) -> Result<()> {
    heading("1. A container at its limit: 64 MiB allowed, a process that wants more.")?;
    let path = format!("{POD}/cri-containerd-91c3f0d7e5a24b68{}.scope", "91c3f0d7e5a24b68".repeat(3));
    let memcg = hierarchy.create(&path)?;
    memcg.limit(&path, 64 << 20)?;
    let mut hog = Hog::start(&env::current_exe()?, 0, &["comm=image-resizer", "anon=256"])?;
    memcg.add(hog.pid)?;
    hog.go()?;
    hog.wait_for_kill()?;
    print_report(reports, hog.pid)
}

fn group(hierarchy: &Hierarchy, reports: &Lines) -> Result<()> {
    heading(
        "2. A group kill: memory.oom.group is set, as Kubernetes does. Three processes share 48 MiB; all must go.",
    )?;
    let path = format!("{POD}/cri-containerd-b7e41d90c2f5836a{}.scope", "b7e41d90c2f5836a".repeat(3));
    let memcg = hierarchy.create(&path)?;
    memcg.limit(&path, 48 << 20)?;
    memcg.kill_as_group()?;
    let mut members = Vec::new();
    let program = env::current_exe()?;
    for steps in [
        ["comm=master", "anon=4", "stop"],
        ["comm=worker-1", "anon=12", "stop"],
        ["comm=worker-2", "stop", "anon=256"],
    ] {
        let mut hog = Hog::start(&program, 0, &steps)?;
        memcg.add(hog.pid)?;
        hog.go_to_stop()?;
        members.push(hog);
    }
    let Some(grower) = members.last_mut() else { bail!("no members") };
    grower.go()?;
    let pid = grower.pid;
    members.iter_mut().try_for_each(Hog::wait_for_kill)?;
    print_report(reports, pid)
}

fn node(reports: &Lines) -> Result<()> {
    heading("3. The whole node: no limit anywhere, and a process that takes all memory there is.")?;
    let mut hog = Hog::start(&env::current_exe()?, 0, &["comm=batch-job", "anon=8192"])?;
    hog.go()?;
    hog.wait_for_kill()?;
    print_report(reports, hog.pid)
}

fn heading(text: &str) -> Result<()> {
    say(&format!("\n{}\n{text}\n\n", "=".repeat(100)))
}

/// Passes on the agent's page, to its end.
fn print_report(reports: &Lines, pid: u32) -> Result<()> {
    let pid = pid.to_string();
    let mut named = false;
    let mut limit = PATIENCE;
    loop {
        let next = match reports.next(limit) {
            Next::Line(line) => {
                named |= line.split(|letter: char| !letter.is_ascii_digit()).any(|word| word == pid);
                say(&format!("{line}\n"))?;
                limit = SILENCE;
                ControlFlow::Continue(())
            }
            Next::Nothing => ControlFlow::Break("no report came"),
            Next::End => ControlFlow::Break("the agent closed its stdout"),
        };
        match next {
            ControlFlow::Continue(()) => {}
            ControlFlow::Break(_) if named => return Ok(()),
            ControlFlow::Break(why) => bail!("pid {pid} was killed, and {why}"),
        }
    }
}

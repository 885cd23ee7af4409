//! `oomwatch-guest hog`: takes memory of the kinds that an OOM kill tells apart, in the order asked for.

use std::{
    convert::Infallible,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, Write},
    os::unix::net::UnixDatagram,
    process::{Command, Stdio},
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, bail};
use oomwatch_tests::escaped::unescape;
use rustix::mm::{MlockAllFlags, mlockall};

use crate::sys;

const MIB: usize = 1 << 20;

/// Takes the steps, then waits to be killed.
pub(crate) fn run(steps: &[&str]) -> Result<()> {
    // The test that starts hogs may be protected from the OOM killer, and its children inherit that.
    set_oom_score_adj("0")?;
    // It is looked up once and kept. Looked up after the first thread has exited it would be 0: /proc/self/auxv is
    // empty then.
    rustix::param::page_size();
    take(steps)?;
    loop {
        thread::park();
    }
}

fn take(steps: &[&str]) -> Result<()> {
    let mut held: Vec<Vec<u8>> = Vec::new();
    let mut remaining = steps;
    while let Some((step, rest)) = remaining.split_first() {
        let (name, value) = step.split_once('=').unwrap_or((step, ""));
        match name {
            "anon" => anonymous(&mut held, number(value)?),
            "map" => {
                let (file, bytes) = file_of(value)?;
                file.set_len(u64::try_from(bytes)?)?;
                sys::map_and_touch(&file, bytes)?;
            }
            "write" => {
                let (mut file, bytes) = file_of(value)?;
                let piece = vec![1; MIB];
                for _ in 0..bytes / MIB {
                    file.write_all(&piece)?;
                }
            }
            "files" => files(value)?,
            "pipes" => pipes(number(value)?)?,
            "datagrams" => datagrams(number(value)?)?,
            "lock" => mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)?,
            "comm" => set_comm(value)?,
            "adj" => set_oom_score_adj(value)?,
            "threads" => (0..number(value)?).for_each(|_| drop(thread::spawn(thread::park))),
            "stop" => stop()?,
            "bind" => sys::bind_to_memory_node(value.parse().context("not a memory node")?)?,
            "share" => writeln!(io::stdout(), "sharer {}", sys::share_memory()?)?,
            "vfork" => return in_vfork_child(rest),
            "thread" => return in_thread(value, rest),
            "worker" => leave_to_worker(value, rest),
            "cgroupns" => sys::new_cgroup_namespace()?,
            "pidns" => return in_pid_namespace(rest),
            _ => bail!("no such step: {step}"),
        }
        remaining = rest;
    }
    // Nothing is given back before the end: a hog that waits has what it took.
    std::mem::forget(held);
    Ok(())
}

/// In pieces, so that it grows steadily towards the limit.
fn anonymous(held: &mut Vec<Vec<u8>>, mib: usize) {
    for _ in 0..mib {
        let mut piece = vec![0_u8; MIB];
        piece.iter_mut().step_by(rustix::param::page_size()).for_each(|byte| *byte = 1);
        held.push(std::hint::black_box(piece));
    }
}

/// Empty files: on a tmpfs each is an inode and a name, which nothing but its end gives back.
fn files(value: &str) -> Result<()> {
    let (folder, count) = value.rsplit_once(':').context("PATH:COUNT is needed")?;
    for file in 0..number(count)? {
        File::create(format!("{folder}/file-{file:08}")).with_context(|| format!("in {folder}"))?;
    }
    Ok(())
}

/// Pipes that nobody reads, each as full as it gets without being made larger.
fn pipes(count: usize) -> Result<()> {
    let full = vec![1; 16 * rustix::param::page_size()];
    for _ in 0..count {
        let (read, mut write) = io::pipe()?;
        write.write_all(&full)?;
        std::mem::forget((read, write));
    }
    Ok(())
}

/// Sockets that nobody reads, each with messages that take several contiguous pages.
fn datagrams(count: usize) -> Result<()> {
    let message = vec![1; 12 << 10];
    for _ in 0..count {
        let (read, write) = UnixDatagram::pair()?;
        write.set_nonblocking(true)?;
        while write.send(&message).is_ok() {}
        std::mem::forget((read, write));
    }
    Ok(())
}

fn file_of(value: &str) -> Result<(File, usize)> {
    let (path, mib) = value.rsplit_once(':').context("PATH:MIB is needed")?;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
    Ok((file.with_context(|| format!("cannot make {path}"))?, number(mib)? * MIB))
}

fn set_comm(name: &str) -> Result<()> {
    fs::write("/proc/thread-self/comm", unescape(name.as_bytes())).context("cannot set the comm")
}

fn set_oom_score_adj(value: &str) -> Result<()> {
    fs::write("/proc/self/oom_score_adj", value)
        .with_context(|| format!("cannot set oom_score_adj to {value}"))
}

fn stop() -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "stopped")?;
    stdout.flush()?;
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        bail!("the test has gone");
    }
    Ok(())
}

/// The calling thread must be the first one.
fn leave_to_worker(name: &str, steps: &[&str]) -> ! {
    start_thread(name, steps);
    sys::exit_thread()
}

fn in_thread(name: &str, steps: &[&str]) -> Result<()> {
    match start_thread(name, steps).join() {
        Ok(never) => match never {},
        Err(_) => bail!("the thread panicked"),
    }
}

fn start_thread(name: &str, steps: &[&str]) -> JoinHandle<Infallible> {
    let name = name.to_owned();
    let steps: Vec<String> = steps.iter().map(|&step| step.to_owned()).collect();
    thread::spawn(move || {
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        finish(set_comm(&name).and_then(|()| take(&steps)))
    })
}

/// Waits to be killed, after steps that went well.
fn finish(outcome: Result<()>) -> ! {
    if let Err(error) = outcome {
        writeln!(io::stderr(), "hog: {error:#}").ok();
        std::process::exit(1);
    }
    loop {
        thread::park();
    }
}

fn in_vfork_child(steps: &[&str]) -> Result<()> {
    sys::in_vfork_child(&mut || {
        let said = writeln!(io::stdout(), "sharer {}", std::process::id()).context("nobody listens");
        finish(said.and_then(|()| take(steps)))
    })
}

fn in_pid_namespace(steps: &[&str]) -> Result<()> {
    sys::new_pid_namespace()?;
    let mut child = Command::new("/proc/self/exe");
    child.arg("hog").args(steps).stdin(Stdio::inherit()).stdout(Stdio::inherit());
    let mut child = child.spawn().context("cannot start the child")?;
    writeln!(io::stdout(), "child {}", child.id())?;
    child.wait()?;
    std::process::exit(0)
}

fn number(value: &str) -> Result<usize> {
    value.parse().with_context(|| format!("not a number: {value:?}"))
}

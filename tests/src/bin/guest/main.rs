//! `oomwatch-guest`: makes real OOM kills and checks what the agent says of them. Built static, it needs nothing else
//! in the guest than the agent.
//!
//! It does not boot guests (xtask does), and it is no part of what is deployed.

mod capabilities;
mod cases;
mod demo;
mod deployed;
mod hog;
mod storm;
mod suite;
mod sys;
mod victims;

use std::{io::Write, process::ExitCode};

const USAGE: &str = "\
oomwatch-guest test [FILTER…]  makes OOM kills of every kind and compares the agent's reports with the kernel's log
oomwatch-guest demo            three OOM kills, and what the agent reports of them
oomwatch-guest storm LEVEL KILLS [json]
                               makes so many kills as fast as it can, and says what became of each
oomwatch-guest storm-beside-peers HEADERS KILLS PEERKILLS text|json
                               the same at level kprobe, and then beside bcc's and libbpf-tools' oomkill
oomwatch-guest peers kprobe ROUNDS SINGLES KILLS HEADERS
oomwatch-guest peers tracepoint ROUNDS SINGLES KILLS
                               so many kills, one at a time and then as fast as can be, beside oomwatch and each
                               peer, in turn; the figures as JSON
oomwatch-guest full STANDIN KILLS
                               so many kills beside the agent with a kubelet of 110 pods, metrics, journal and HTTP;
                               the figures as JSON
oomwatch-guest deployed DAEMONSET IMAGE NAME PODS STANDIN
                               runs the image as the DaemonSet says, under containerd, and makes kills in containers
oomwatch-guest hog STEP…       takes memory, step by step, and then waits to be killed
oomwatch-guest victims CGROUP KILLS
                               makes so many processes in it, one after another, each of which its limit kills
oomwatch-guest without CAPABILITY,… PROGRAM ARGUMENT…   becomes that program, without these capabilities

Steps of the hog:
  anon=MIB           takes anonymous memory and touches every page of it
  map=PATH:MIB       makes a file of that size, maps it shared and touches every page
  write=PATH:MIB     writes a file of that size, and maps nothing
  files=PATH:COUNT   makes so many empty files in that folder
  pipes=COUNT        fills so many pipes, which nobody reads
  datagrams=COUNT    fills so many sockets with messages of several pages, which nobody reads
  lock               what it has and takes from now on cannot be moved or dropped (mlockall)
  comm=NAME          names the thread; \\xNN and \\n are understood
  adj=N              sets oom_score_adj, which is set to 0 at the start
  threads=N          starts N threads that do nothing
  thread=NAME        another thread of that name takes the rest of the steps, and the first one waits
  worker=NAME        the first thread exits and becomes a zombie; another of that name takes the rest of the steps
  bind=NODE          memory is from now on of that memory node alone (MPOL_BIND)
  share              starts a process that shares the memory and does nothing; its pid is printed
  vfork              the rest is done by such a process, while this one waits for it; its pid is printed
  cgroupns           enters a cgroup namespace of its own
  pidns              the rest is done by a child in a pid namespace of its own, as pid 1; its pid outside is printed
  stop               prints \"stopped\" and waits for a line on stdin

test, storm and demo run /bin/oomwatch, or what OOMWATCH_BIN names. test and demo are for a guest of 2 GiB at most: one
of the kills is for want of memory on the whole machine.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["hog", steps @ ..] => hog::run(steps),
        ["without", capabilities, program, arguments @ ..] => {
            capabilities::run_without(capabilities, program, arguments)
        }
        ["test", filters @ ..] => suite::run(filters),
        ["deployed", daemon_set, image, name, pods, standin] => {
            deployed::run(&deployed::Inputs { daemon_set, image, name, pods, standin })
        }
        ["victims", _cgroup, _kills] => victims::run(),
        ["storm", level, kills] => storm::run(level, kills, storm::Form::Text),
        ["storm", level, kills, "json"] => storm::run(level, kills, storm::Form::Json),
        ["storm-beside-peers", headers, kills, peer_kills, form @ ("text" | "json")] => {
            let form = if *form == "json" { storm::Form::Json } else { storm::Form::Text };
            storm::run_beside_peers(headers, kills, peer_kills, form)
        }
        ["peers", "kprobe", rounds, singles, kills, headers] => {
            storm::run_peers("kprobe", Some(headers), [rounds, singles, kills])
        }
        ["peers", "tracepoint", rounds, singles, kills] => {
            storm::run_peers("tracepoint", None, [rounds, singles, kills])
        }
        ["full", standin, kills] => storm::run_full(standin, kills),
        ["demo"] => demo::run(),
        _ => Err(anyhow::anyhow!("{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where stderr is closed there is nobody to tell; the exit code says it.
            writeln!(std::io::stderr(), "{error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

//! Every option, its environment name and its default. What is unknown or cannot be parsed stops the start.

mod check;
mod events;
mod explain;
mod http;
mod journal;
mod kubernetes;
mod metrics;
mod node;

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    io::{self, IsTerminal},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum, error::ErrorKind};

pub use self::{
    check::{CheckOptions, CheckOutput},
    events::{EventsOptions, EventsOutput},
    explain::ExplainOptions,
    http::{ApiChoice, HttpOptions},
    journal::{BacklogChoice, JournalOptions},
    kubernetes::{EventsChoice, KubeletChoice, KubernetesOptions, PodSource},
    metrics::MetricsOptions,
    node::{DEFAULT_BTF, DEFAULT_KMSG, NodeOptions, ProbeChoice},
};
use crate::{refusal::Refusal, sys};

/// oomwatch: every OOM kill of this node, explained.
#[derive(Debug, Parser)]
#[command(
    name = "oomwatch",
    version,
    about = "Reports every kill of the kernel's OOM killer: who, by whose limit, who asked, where the memory went.",
    after_help = "Exit codes: 0 ended as asked, 1 failed, 64 wrong option or environment value, 69 this kernel cannot, \
                  77 not permitted.\nEvery option can also be given by its environment name (in brackets)."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch the kernel and report each OOM kill on stdout, until SIGTERM or SIGINT
    #[command(after_help = "\
One line an incident on stdout; oomwatch's own log goes to stderr.\n\n\
  oomwatch run                        a readable line for each kill\n  \
  oomwatch run --output report        the whole story of each kill on a page\n  \
  oomwatch run --output json          schema 1, one object a line\n  \
  oomwatch run --output bcc           the line of bcc's oomkill\n")]
    Run(Box<RunOptions>),
    /// Say what works on this node and what does not, each with what to change
    #[command(after_help = "\
Tries what `oomwatch run` would do, and changes nothing: the probe is loaded, proved on this process, attached and\n\
detached again, also beside an agent that runs. Give it the options or the environment that `run` has:\n\n\
  oomwatch check                                                  as root on a node\n  \
  kubectl -n oomwatch exec daemonset/oomwatch -- /oomwatch check  in the agent's own pod\n  \
  oomwatch check --output json | jq '.checks[] | select(.state != \"ok\")'\n\n\
Each line is one check: ok, degraded (works, with less), failed, or n/a (not applicable here).\n\
Exit codes: 0 OOM kills will be caught, be it with less; else that with which `run` would refuse to start:\n\
64 wrong option, 69 this kernel cannot, 77 not permitted, 1 something else.")]
    Check(Box<CheckOptions>),
    /// Show what was killed on this node, and follow what is
    #[command(after_help = "\
Reads the journal that `oomwatch run --journal DIR` keeps, or asks a running agent; the newest come last:\n\n  \
  oomwatch events --since 2h                           the last two hours\n  \
  oomwatch events --pod shop/web-0 --output report     the whole story of each kill of a pod\n  \
  oomwatch events --cause node_exhausted --output json | jq .victims\n  \
  oomwatch events --follow                             the last ones, then live, until Ctrl-C\n  \
  kubectl -n oomwatch exec daemonset/oomwatch -- /oomwatch events\n\n\
Where it looks: --url, else --journal, else where OOMWATCH_LISTEN says that the agent listens, else\n\
/var/lib/oomwatch. A journal is only read: an agent may write it meanwhile, or be dead.\n\
MEMORY is what the killed processes held in memory together, LIMIT whose limit was hit; AGE is how long ago.")]
    Events(Box<EventsOptions>),
    /// Say what happened, and why, from a kernel log that somebody saved, or from our own reports
    #[command(after_help = explain::EXAMPLES)]
    Explain(Box<ExplainOptions>),
    /// Print the reports of incidents that `run --record-to` kept
    Replay(ReplayOptions),
}

/// How reports look.
#[derive(Args, Clone, Debug)]
pub struct OutputOptions {
    /// How each report is printed
    #[arg(long, env = "OOMWATCH_OUTPUT", value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// When `text` and `report` are coloured
    #[arg(long, env = "OOMWATCH_COLOR", value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

/// Options of `oomwatch run`.
#[derive(Args, Clone, Debug)]
pub struct RunOptions {
    /// How reports look.
    #[command(flatten)]
    pub output: OutputOptions,
    /// What is looked at, and with which hooks.
    #[command(flatten)]
    pub node: NodeOptions,
    /// How much of oomwatch's own log goes to stderr
    #[arg(long, env = "OOMWATCH_LOG", value_enum, default_value_t = LogLevel::Info)]
    pub log: LogLevel,
    /// Reports that may wait for a slow stdout before further ones are dropped (and counted); 4 KiB of memory each, and
    /// 4 MiB together
    #[arg(long, env = "OOMWATCH_QUEUE", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..),
        value_name = "REPORTS")]
    pub queue: u16,
    /// How long reading /proc and cgroup files may take for one incident, besides those of its victims, milliseconds
    #[arg(long, env = "OOMWATCH_CAPTURE_DEADLINE_MS", default_value_t = 500, 
        value_parser = clap::value_parser!(u32).range(1..=60_000), value_name = "MS")]
    pub capture_deadline_ms: u32,
    /// How the kubelet and the API server are reached.
    #[command(flatten)]
    pub kubernetes: KubernetesOptions,
    /// Where incidents are kept.
    #[command(flatten)]
    pub journal: JournalOptions,
    /// What is served over HTTP.
    #[command(flatten)]
    pub http: HttpOptions,
    /// Which series there are.
    #[command(flatten)]
    pub metrics: MetricsOptions,
    /// Keep each incident's raw records and files below this directory, for `oomwatch replay`
    #[arg(long, env = "OOMWATCH_RECORD_TO", value_name = "DIR")]
    pub record_to: Option<PathBuf>,
}

impl RunOptions {
    /// How long the reads of one incident may take.
    pub fn capture_deadline(&self) -> Duration {
        Duration::from_millis(self.capture_deadline_ms.into())
    }
}

/// Options of `oomwatch replay`.
#[derive(Args, Clone, Debug)]
pub struct ReplayOptions {
    /// How reports look.
    #[command(flatten)]
    pub output: OutputOptions,
    /// A directory that `run --record-to` made: one incident, or the parent of several
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// How each report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// One readable line
    Text,
    /// One JSON object a line, schema 1
    Json,
    /// The whole story on a page
    Report,
    /// The line of bcc's oomkill
    Bcc,
}

/// When output is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    /// Whether what goes to this stream is to be coloured.
    pub fn wanted(self, stream: &impl IsTerminal) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => sys::wants_colour(stream),
        }
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Only what fails
    Error,
    /// And what degrades reports
    Warn,
    /// And what oomwatch does
    Info,
    /// And why
    Debug,
}

/// A power of two from 4 up.
fn power_of_two(text: &str) -> Result<u32, String> {
    let number: u32 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number.is_power_of_two() && (4..=1 << 20).contains(&number) {
        Ok(number)
    } else {
        Err("not a power of two between 4 and 1048576".to_owned())
    }
}

/// What parsing came to.
pub enum Parsed {
    /// Do this.
    Command(Cli),
    /// Help or version was asked for: print it and end well.
    Print(String),
}

/// Whether it is `oomwatch run`, if nothing is wrong.
pub fn is_run(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|first| first == "run")
}

/// Parses the command line, after a look at the names in the environment.
///
/// # Errors
/// [`crate::refusal::Kind::Usage`], with one line.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = OsString>,
) -> Result<Parsed, Refusal> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let environment: Vec<OsString> = environment.into_iter().filter(|name| is_ours(name)).collect();
    if let Some(options) = run_alone(&arguments, &environment) {
        return Ok(Parsed::Command(Cli { command: Command::Run(Box::new(options)) }));
    }
    let mut command = Cli::command();
    let known = known_environment(&command);
    if let Some(name) = environment.iter().find(|name| !known.contains(name.as_os_str())) {
        return Err(Refusal::usage(format!(
            "environment variable {} is not known: `oomwatch run --help` lists those that are",
            name.to_string_lossy()
        )));
    }
    let parsed =
        command.try_get_matches_from_mut(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed.map_err(|error| error.format(&mut command)) {
        Ok(cli) => Ok(Parsed::Command(cli)),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            let (help, coloured) = (error.render(), sys::wants_colour(&io::stdout()));
            Ok(Parsed::Print(if coloured { help.ansi().to_string() } else { help.to_string() }))
        }
        Err(error) => Err(Refusal::usage(one_line(&error))),
    }
}

/// The options of `oomwatch run`, where nothing else is asked for and nothing is wrong. To make all options of all
/// commands first is no small part of a start.
fn run_alone(arguments: &[OsString], environment: &[OsString]) -> Option<RunOptions> {
    let from_run = arguments.get(1..).filter(|_| is_run(arguments))?;
    let command = RunOptions::augment_args(clap::Command::new("run"));
    let known = known_environment(&command);
    if environment.iter().any(|name| !known.contains(name.as_os_str())) {
        return None;
    }
    let matches = command.try_get_matches_from(from_run).ok()?;
    RunOptions::from_arg_matches(&matches).ok()
}

/// clap's message in one line: without its prefix, usage and hints about `--help`.
fn one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "no command given: try `oomwatch run`, or `oomwatch --help`".to_owned();
    }
    let text = error.render().to_string();
    let kept: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let message = kept.join(" ");
    format!("{} (see `oomwatch --help`)", message.strip_prefix("error: ").unwrap_or(&message))
}

fn known_environment(command: &clap::Command) -> BTreeSet<&OsStr> {
    let of_commands = command.get_subcommands().flat_map(clap::Command::get_arguments);
    command.get_arguments().chain(of_commands).filter_map(|argument| argument.get_env()).collect()
}

/// Kubernetes puts variables like `OOMWATCH_SERVICE_HOST` and `OOMWATCH_PORT_9100_TCP` into every container of a
/// namespace that has a Service of this name
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>).
fn is_ours(name: &OsStr) -> bool {
    let Some(rest) = name.to_str().and_then(|name| name.strip_prefix("OOMWATCH_")) else { return false };
    let service_link = format!("_{rest}");
    !(service_link.contains("_SERVICE_HOST")
        || service_link.contains("_SERVICE_PORT")
        || service_link.ends_with("_PORT")
        || service_link
            .split("_PORT_")
            .nth(1)
            .is_some_and(|port| port.starts_with(|c: char| c.is_ascii_digit())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], environment: &[&str]) -> Result<(), String> {
        let parsed = parse(arguments.iter().map(OsString::from), environment.iter().map(OsString::from));
        parsed.map(|_| ()).map_err(|refusal| refusal.text)
    }

    #[test]
    fn unknown_environment_names_are_refused_and_service_links_are_not() {
        let run = ["oomwatch", "run"];
        assert_eq!(check(&run, &["OOMWATCH_OUTPUT", "PATH", "OOMWATCH_NODE_NAME"]), Ok(()));
        assert!(check(&run, &["OOMWATCH_OUTPTU"]).unwrap_err().contains("OOMWATCH_OUTPTU"));
        for link in [
            "OOMWATCH_SERVICE_HOST",
            "OOMWATCH_SERVICE_PORT_METRICS",
            "OOMWATCH_PORT",
            "OOMWATCH_PORT_9100_TCP_ADDR",
            "OOMWATCH_METRICS_SERVICE_HOST",
            "OOMWATCH_METRICS_PORT_9100_TCP",
        ] {
            assert_eq!(check(&run, &[link]), Ok(()), "{link}");
        }
    }

    #[test]
    fn the_options_of_run_are_the_same_by_themselves() {
        for arguments in [
            &["oomwatch", "run"][..],
            &["oomwatch", "run", "--output=json", "--queue", "7", "--journal", "/a", "--no-journal"],
            &["oomwatch", "run", "--output", "bcc", "--kubelet", "off", "--listen", "127.0.0.1:1"],
            &["oomwatch", "run", "--help"],
            &["oomwatch", "run", "--version"],
            &["oomwatch", "run", "--queue", "0"],
            &["oomwatch", "run", "more"],
            &["oomwatch", "check"],
            &["oomwatch", "--help", "run"],
            &["oomwatch"],
            &[],
        ] {
            let words: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            let matches = Cli::command().try_get_matches_from(&words);
            let all = matches.and_then(|matches| Cli::from_arg_matches(&matches)).ok();
            let all = all.and_then(|cli| match cli.command {
                Command::Run(options) => Some(format!("{options:?}")),
                _ => None,
            });
            assert_eq!(run_alone(&words, &[]).map(|options| format!("{options:?}")), all, "{arguments:?}");
        }
    }

    #[test]
    fn errors_are_one_line() {
        for arguments in [
            &["oomwatch"][..],
            &["oomwatch", "run", "--outptu", "json"],
            &["oomwatch", "run", "--output", "yaml"],
            &["oomwatch", "run", "--ring-buffer-kib", "500"],
            &["oomwatch", "run", "--queue", "0"],
            &["oomwatch", "watch"],
        ] {
            let text = check(arguments, &[]).unwrap_err();
            assert!(!text.contains('\n') && text.contains("--help"), "{arguments:?}: {text}");
        }
    }

    #[test]
    fn every_option_of_the_commands_has_an_environment_name() {
        // What `run` has as well is the same for `events`; the rest is its own, and not what a pod sets for `run`.
        let shared = ["color", "url", "journal", "listen"];
        let command = Cli::command();
        for subcommand in ["run", "check", "events", "explain"] {
            let subcommand = command.find_subcommand(subcommand).unwrap();
            let options = subcommand.get_arguments().filter(|argument| !argument.is_positional());
            for argument in options.filter(|argument| argument.get_id() != "help") {
                let mut name = format!("OOMWATCH_{}", argument.get_id().as_str().to_uppercase());
                if subcommand.get_name() == "check" && name == "OOMWATCH_OUTPUT" {
                    name = "OOMWATCH_CHECK_OUTPUT".to_owned();
                }
                let own = subcommand.get_name().to_uppercase();
                if ["EVENTS", "EXPLAIN"].contains(&own.as_str())
                    && !shared.contains(&argument.get_id().as_str())
                {
                    name = name.replace("OOMWATCH_", &format!("OOMWATCH_{own}_"));
                }
                assert_eq!(argument.get_env(), Some(OsStr::new(&name)), "{name}");
            }
        }
    }
}

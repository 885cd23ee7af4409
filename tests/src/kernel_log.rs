//! What the kernel prints about an OOM kill, as values (`dump_header` and `__oom_kill_process`, `mm/oom_kill.c`; the
//! forms are those of Linux 5.4 to 7.3).
//!
//! The header (from "invoked oom-killer" to "oom-kill:") is printed at most 10 times in 5 seconds; "Killed process" is
//! always printed. So an incident may lack its header, but never its victims. Where headers are lacking, two incidents
//! in a row cannot be told from one with two victims, and none is guessed: each "Killed process" then stands alone.

mod lines;

pub use lines::{Counter, Header, Killed, Summary};

use crate::kmsg::Record;

/// One invocation, as far as it was printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoggedIncident {
    /// `NAME invoked oom-killer: …`
    pub header: Option<Header>,
    /// Thread id of the trigger, from the line `CPU: 1 PID: 164 Comm: …` of the stack dump.
    pub trigger_tid: Option<u32>,
    /// `memory: usage …kB, limit …kB`
    pub memory: Option<Counter>,
    /// `swap: usage …`, and on cgroup v1 `memory+swap: usage …`
    pub swap: Option<Counter>,
    /// `oom-kill:constraint=…`
    pub summary: Option<Summary>,
    /// `Tasks in … are going to be killed due to memory.oom.group set`
    pub group: bool,
    /// Every line "Killed process". In a group kill the chosen process is there twice.
    pub killed: Vec<Killed>,
}

impl LoggedIncident {
    /// The processes killed, each once, by the number in "Killed process".
    pub fn victims(&self) -> Vec<&Killed> {
        let mut victims: Vec<&Killed> = Vec::new();
        for killed in &self.killed {
            if !victims.iter().any(|victim| victim.tid == killed.tid) {
                victims.push(killed);
            }
        }
        victims
    }
}

/// Every incident in the records, oldest first.
pub fn incidents(records: &[Record]) -> Vec<LoggedIncident> {
    let mut incidents: Vec<LoggedIncident> = Vec::new();
    for text in joined(records) {
        if let Some(header) = Header::parse(&text) {
            incidents.push(LoggedIncident { header: Some(header), ..LoggedIncident::default() });
        } else if let Some(killed) = Killed::parse(&text) {
            match incidents.last_mut() {
                Some(open) if open.killed.is_empty() || open.group => open.killed.push(killed),
                _ => incidents.push(LoggedIncident { killed: vec![killed], ..LoggedIncident::default() }),
            }
        } else if let Some(open) = incidents.last_mut() {
            add(open, &text);
        }
    }
    incidents
}

/// A line of an incident's header.
fn add(incident: &mut LoggedIncident, text: &[u8]) {
    if let Some(summary) = Summary::parse(text) {
        incident.summary = Some(summary);
    } else if let Some(counter) = Counter::parse(text, "memory: usage ") {
        incident.memory = Some(counter);
    } else if let Some(counter) =
        Counter::parse(text, "swap: usage ").or_else(|| Counter::parse(text, "memory+swap: usage "))
    {
        incident.swap = Some(counter);
    } else if let Some(tid) = lines::stack_dump_tid(text) {
        incident.trigger_tid = incident.trigger_tid.or(Some(tid));
    } else if text.starts_with(b"Tasks in ")
        && text.ends_with(b" are going to be killed due to memory.oom.group set")
    {
        incident.group = true;
    }
}

/// The texts, each continuation appended to the line that it continues. Only "oom-kill:" is printed in parts
/// (`pr_cont`), and another CPU's line may come between: so a part belongs to the last such line that has no end yet.
fn joined(records: &[Record]) -> Vec<Vec<u8>> {
    let mut texts: Vec<Vec<u8>> = Vec::new();
    for record in records {
        let unfinished = texts
            .iter_mut()
            .rev()
            .find(|text| text.starts_with(b"oom-kill:"))
            .filter(|text| record.continues && Summary::parse(text).is_none());
        match unfinished {
            Some(text) => text.extend_from_slice(&record.text),
            None => texts.push(record.text.clone()),
        }
    }
    texts
}

#[cfg(test)]
mod tests;

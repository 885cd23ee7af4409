//! Incidents as a table: a line each, for a person who looks back. Whose output it is, and how wide, is the caller's to
//! know; so is the time.

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    diagnose::Cause,
    render_page::Style,
    render_text::{short_id, short_path, verdict},
    report::{Report, Rss, size},
    units::Bytes,
};

const HEADINGS: [&str; COLUMNS] = ["AGE", "POD", "CONTAINER", "KILLED", "MEMORY", "LIMIT", "WHY"];
const COLUMNS: usize = 7;
const GAP: usize = 2;
/// Columns that give way on a narrow terminal, and how far: the pod, the container, who was killed.
const GIVE_WAY: [(usize, usize); 3] = [(1, 12), (2, 9), (3, 12)];
/// What is left for the last column at least, before others give way.
const WHY_AT_LEAST: usize = 24;
/// How wide columns are at least where rows are still to come.
const TO_COME: [usize; COLUMNS] = [19, 30, 12, 22, 10, 10, 0];

/// How a row says when.
#[derive(Clone, Debug)]
pub enum When {
    /// How long before this: `5h12m`.
    Age(Timestamp),
    /// The time of day there, which does not grow old on the screen.
    Clock(TimeZone),
}

/// A table as wide as its first rows need.
#[derive(Clone, Debug)]
pub struct Table {
    when: When,
    widths: [usize; COLUMNS],
    columns: Option<usize>,
    style: Style,
}

impl Table {
    /// Of these rows, and maybe others later. `columns`: as many as the terminal has; longer lines are cut.
    pub fn new(reports: &[Report], when: When, columns: Option<usize>, style: Style) -> Self {
        let mut widths = HEADINGS.map(width);
        if matches!(when, When::Clock(_)) {
            widths = TO_COME;
        }
        for report in reports {
            for (widest, cell) in widths.iter_mut().zip(cells(report, &when)) {
                *widest = (*widest).max(width(&cell));
            }
        }
        if let Some(columns) = columns {
            fit(&mut widths, columns);
        }
        Self { when, widths, columns, style }
    }

    /// The first line, with its line end.
    pub fn heading(&self) -> String {
        let mut headings = HEADINGS;
        if let (When::Clock(_), Some(first)) = (&self.when, headings.first_mut()) {
            *first = "TIME";
        }
        let line = self.line(&headings.map(str::to_owned));
        match self.style {
            Style::Plain => format!("{line}\n"),
            Style::Colour => format!("\x1b[1m{line}\x1b[0m\n"),
        }
    }

    /// An incident's line, with its line end. Everything that a process chose is already escaped in the report.
    pub fn row(&self, report: &Report) -> String {
        let line = self.line(&cells(report, &self.when));
        match self.style {
            Style::Colour if report.cause == Cause::NodeExhausted => format!("\x1b[1;31m{line}\x1b[0m\n"),
            _ => format!("{line}\n"),
        }
    }

    fn line(&self, cells: &[String; COLUMNS]) -> String {
        let mut line = String::new();
        for (cell, columns) in cells.iter().zip(self.widths) {
            let cell = if self.columns.is_some() { cut(cell, columns) } else { cell.clone() };
            line.push_str(&cell);
            line.extend(std::iter::repeat_n(' ', columns.saturating_sub(width(&cell)) + GAP));
        }
        let line = line.trim_end();
        self.columns.map_or_else(|| line.to_owned(), |columns| cut(line, columns))
    }
}

/// Takes from the widest that gives way until the line fits, or none gives way any more.
fn fit(widths: &mut [usize; COLUMNS], columns: usize) {
    let why = widths.last().copied().unwrap_or(0).clamp(0, WHY_AT_LEAST);
    let fixed =
        |widths: &[usize; COLUMNS]| widths.iter().take(COLUMNS - 1).map(|width| width + GAP).sum::<usize>();
    while fixed(widths) + why > columns {
        let may = GIVE_WAY.into_iter().filter_map(|(column, least)| {
            widths.get(column).filter(|width| **width > least).map(|width| (*width, column))
        });
        let Some((_, widest)) = may.max() else { break };
        if let Some(width) = widths.get_mut(widest) {
            *width -= 1;
        }
    }
    let left = columns.saturating_sub(fixed(widths));
    if let Some(why) = widths.last_mut() {
        *why = (*why).min(left);
    }
}

fn cells(report: &Report, when: &When) -> [String; COLUMNS] {
    let time: Option<Timestamp> = report.time.parse().ok();
    let when = match (when, time) {
        (_, None) => "?".to_owned(),
        (When::Age(now), Some(time)) => age(*now, time),
        (When::Clock(zone), Some(time)) => {
            time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
        }
    };
    let container = report.kubernetes.as_ref().and_then(|kubernetes| {
        kubernetes.container.clone().or_else(|| kubernetes.container_id.as_deref().map(short_id))
    });
    let limit = report.limit_owner.as_ref().and_then(|owner| owner.limit_bytes);
    let none = || "-".to_owned();
    let why = verdict(report);
    [
        when,
        place(report),
        container.unwrap_or_else(none),
        killed(report),
        memory(report).map_or_else(none, size),
        limit.map_or_else(none, size),
        // What follows is for who reads the whole report.
        why.split_once(", ").map_or(why.as_str(), |(verdict, _)| verdict).to_owned(),
    ]
}

/// `namespace/pod`, what of the host it was, or its cgroup.
fn place(report: &Report) -> String {
    let kubernetes = report.kubernetes.as_ref();
    let pod = kubernetes.and_then(|pod| match (&pod.namespace, &pod.pod, &pod.pod_uid) {
        (Some(namespace), Some(pod), _) => Some(format!("{namespace}/{pod}")),
        (_, _, Some(uid)) => Some(format!("pod {uid}")),
        _ => None,
    });
    let host = || {
        let host = report.host.as_ref()?;
        Some(host.name.as_deref().map_or_else(|| host.kind.words().to_owned(), short_id))
    };
    let cgroup = || Some(short_path(report.victims.first()?.cgroup.as_deref()?));
    pod.or_else(host).or_else(cgroup).unwrap_or_else(|| "-".to_owned())
}

/// `java (4242), +3`
fn killed(report: &Report) -> String {
    let Some((first, others)) = report.victims.split_first() else { return "-".to_owned() };
    let comm = first.leader_comm.as_deref().or(first.comm.as_deref()).unwrap_or("?");
    let pid = first.tgid.or(first.tid).map_or_else(String::new, |pid| format!(" ({pid})"));
    let others = if others.is_empty() { String::new() } else { format!(", +{}", others.len()) };
    format!("{comm}{pid}{others}")
}

/// What the victims held together.
fn memory(report: &Report) -> Option<Bytes> {
    let each = report.victims.iter().filter_map(|victim| victim.rss.as_ref().map(Rss::total));
    each.reduce(|Bytes(one), Bytes(other)| Bytes(one.saturating_add(other)))
}

/// `12s`, `3m`, `5h12m`, `9d`.
fn age(now: Timestamp, time: Timestamp) -> String {
    // A clock that was set back makes no age negative.
    let seconds = now.duration_since(time).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    if columns > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (time, expected) in [
            ("2026-11-21T12:00:00Z", "0s"),
            ("2026-11-21T12:00:05Z", "0s"),
            ("2026-11-21T11:59:48.5Z", "11s"),
            ("2026-11-21T11:57:00Z", "3m"),
            ("2026-11-21T06:48:00Z", "5h12m"),
            ("2026-11-20T12:00:01Z", "23h59m"),
            ("2026-11-12T00:00:00Z", "9d"),
        ] {
            assert_eq!(age(now, time.parse().unwrap()), expected);
        }
    }

    #[test]
    fn columns_give_way_the_widest_first_and_not_for_ever() {
        let widths = [5, 40, 12, 22, 10, 10, 30];
        let fitted = |columns| {
            let mut widths = widths;
            fit(&mut widths, columns);
            widths
        };
        assert_eq!(fitted(200), widths);
        assert_eq!(fitted(130), [5, 35, 12, 22, 10, 10, 24]);
        assert_eq!(fitted(100), [5, 14, 12, 13, 10, 10, 24]);
        assert_eq!(fitted(20), [5, 12, 9, 12, 10, 10, 0]);
    }

    #[test]
    fn cut_text_says_so() {
        assert_eq!((cut("abc", 3), cut("äöü", 2), cut("abc", 0)), ("abc".into(), "ä…".into(), String::new()));
    }
}

//! The table of targets: what was to be reached, what was measured, and whether that is it.

use std::fmt::Write as _;

use serde::Serialize;

/// A line of it.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) figure: String,
    pub(super) target: String,
    pub(super) measured: String,
    pub(super) met: bool,
}

/// Adds lines.
#[derive(Default, Serialize)]
#[serde(transparent)]
pub(super) struct Table(Vec<Row>);

impl Table {
    pub(super) fn add(&mut self, figure: &str, target: &str, measured: String, met: bool) {
        self.0.push(Row { figure: figure.to_owned(), target: target.to_owned(), measured, met });
    }

    /// In Markdown.
    pub(super) fn page(&self) -> String {
        let mut page = "| figure | target | measured | |\n| --- | --- | --- | --- |\n".to_owned();
        for Row { figure, target, measured, met } in &self.0 {
            let met = if *met { "met" } else { "**missed**" };
            // Writing to a String cannot fail.
            writeln!(page, "| {figure} | {target} | {measured} | {met} |").unwrap_or_default();
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn what_is_missed_stands_out() {
        let mut table = Table::default();
        table.add("start", "< 1", "0.50".to_owned(), true);
        table.add("binary", "< 6 MiB", "7.2 MiB".to_owned(), false);
        let page = table.page();
        assert!(page.contains("| start | < 1 | 0.50 | met |"), "{page}");
        assert!(page.ends_with("| binary | < 6 MiB | 7.2 MiB | **missed** |\n"), "{page}");
    }
}

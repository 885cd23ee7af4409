//! What can be said of the dashboard without a Grafana: panels that do not overlap, data from the chosen source, and no
//! variable that nobody chose. Whether its queries have data is a test's to say, with a real Prometheus.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Variables that Grafana has of itself.
const OF_GRAFANA: [&str; 4] = ["__rate_interval", "__range", "__range_s", "__all"];
const SOURCE: &str = "${datasource}";
/// Columns of Grafana's grid.
const WIDTH: u64 = 24;

/// Checks the dashboard's JSON.
pub(crate) fn check(text: &str) -> Result<()> {
    let dashboard: Value = serde_json::from_str(text).context("the dashboard is no JSON")?;
    let list = |pointer: &str| dashboard.pointer(pointer).and_then(Value::as_array);
    let variables: Vec<&str> = list("/templating/list")
        .context("the dashboard has no variables")?
        .iter()
        .filter_map(|variable| variable.get("name")?.as_str())
        .collect();
    let panels =
        list("/panels").filter(|panels| !panels.is_empty()).context("the dashboard has no panels")?;
    for (index, panel) in panels.iter().enumerate() {
        let title = panel.get("title").and_then(Value::as_str).filter(|title| !title.is_empty());
        let title = title.with_context(|| format!("panel {index} has no title"))?;
        check_panel(panel).with_context(|| format!("the panel {title:?}"))?;
        for other in panels.iter().take(index) {
            ensure!(other.get("id") != panel.get("id"), "the panel {title:?} has the id of another");
            ensure!(!overlap(other, panel), "the panel {title:?} overlaps {:?}", other.get("title"));
        }
    }
    for name in variables_in(text) {
        ensure!(
            variables.contains(&name) || OF_GRAFANA.contains(&name),
            "the dashboard uses ${name}, which is no variable of it"
        );
    }
    Ok(())
}

fn check_panel(panel: &Value) -> Result<()> {
    let (x, w) = (place(panel, "x"), place(panel, "w"));
    ensure!(w > 0 && place(panel, "h") > 0 && x.saturating_add(w) <= WIDTH, "is not within the grid");
    if panel.get("type").and_then(Value::as_str) == Some("row") {
        return Ok(());
    }
    let text = |pointer: &str| panel.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    ensure!(!text("/description").is_empty(), "does not say what it shows");
    ensure!(!text("/fieldConfig/defaults/unit").is_empty(), "has no unit");
    ensure!(text("/datasource/uid") == SOURCE, "has a data source of its own");
    let targets = panel.get("targets").and_then(Value::as_array).filter(|targets| !targets.is_empty());
    for target in targets.context("asks nothing")? {
        let text = |pointer: &str| target.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        ensure!(text("/datasource/uid") == SOURCE, "has a data source of its own");
        ensure!(!text("/expr").is_empty() && !text("/refId").is_empty(), "asks nothing");
    }
    Ok(())
}

fn place(panel: &Value, side: &str) -> u64 {
    panel.get("gridPos").and_then(|place| place.get(side)?.as_u64()).unwrap_or(0)
}

fn overlap(one: &Value, other: &Value) -> bool {
    [("x", "w"), ("y", "h")].iter().all(|(from, length)| {
        let (a, b) = (place(one, from), place(other, from));
        a < b.saturating_add(place(other, length)) && b < a.saturating_add(place(one, length))
    })
}

/// `$name` and `${name}`, wherever they stand.
fn variables_in(text: &str) -> impl Iterator<Item = &str> {
    text.split('$').skip(1).map(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn panel(id: u64, x: u64) -> Value {
        let source = json!({ "uid": SOURCE });
        json!({ "id": id, "type": "stat", "title": "T", "description": "D", "datasource": source,
            "gridPos": { "x": x, "y": 0, "w": 12, "h": 4 }, "fieldConfig": { "defaults": { "unit": "s" } },
            "targets": [{ "refId": "A", "expr": "up{node=~\"$node\"}", "datasource": source }] })
    }

    fn dashboard(panels: &[Value]) -> String {
        let variables = [json!({ "name": "node" }), json!({ "name": "datasource" })];
        json!({ "templating": { "list": variables }, "panels": panels }).to_string()
    }

    #[test]
    fn what_is_wrong_is_found() {
        assert!(check(&dashboard(&[panel(1, 0), panel(2, 12)])).is_ok());
        assert!(check(&dashboard(&[])).is_err());
        assert!(check(&dashboard(&[panel(1, 0), panel(1, 12)])).is_err(), "the same id");
        assert!(check(&dashboard(&[panel(1, 0), panel(2, 11)])).is_err(), "one above the other");
        assert!(check(&dashboard(&[panel(1, 13)])).is_err(), "beside the grid");
        for (pointer, value) in [
            ("/title", ""),
            ("/description", ""),
            ("/fieldConfig/defaults/unit", ""),
            ("/datasource/uid", "mine"),
            ("/targets/0/datasource/uid", "mine"),
            ("/targets/0/expr", ""),
            ("/targets/0/expr", "up{pod=~\"$pod\"}"),
        ] {
            let mut wrong = panel(1, 0);
            *wrong.pointer_mut(pointer).unwrap() = value.into();
            assert!(check(&dashboard(&[wrong])).is_err(), "{pointer}: {value}");
        }
    }

    #[test]
    fn variables_are_found_in_both_forms() {
        let found: Vec<&str> = variables_in("a{b=\"$one\"}[$__range] ${two} $three").collect();
        assert_eq!(found, ["one", "__range", "two", "three"]);
    }
}

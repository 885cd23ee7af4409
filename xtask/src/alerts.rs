//! The alerts in `deploy/prometheus`: right by promtool's word, the same for the Prometheus Operator, and each with a
//! page that says what to do.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{dashboard, needs, repo::Repo, run, scraping};

const HEAD: &str = "\
# Made of rules.yaml by `cargo xtask bless`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: oomwatch
  namespace: oomwatch
  labels:
    app.kubernetes.io/name: oomwatch
spec:
";

/// Checks the rules, runs their tests, and looks for what belongs to them.
pub(crate) fn check(repo: &Repo) -> Result<()> {
    let folder = repo.deploy().join("prometheus");
    let promtool =
        needs::of_prometheus(repo, "promtool").context("there is no promtool: run `cargo xtask setup`")?;
    for (verb, file) in [("check", "rules.yaml"), ("test", "rules-test.yaml")] {
        run::read(Command::new(&promtool).args([verb, "rules", file]).current_dir(&folder))?;
    }
    let read = |name: &str| {
        let path = repo.root().join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let rules = read("deploy/prometheus/rules.yaml")?;
    let made = read("deploy/prometheus/prometheusrule.yaml")?;
    ensure!(
        made == for_operator(&rules),
        "prometheusrule.yaml is not made of rules.yaml: run `cargo xtask bless`"
    );
    scrape_config_is_right(repo, &promtool, &read("deploy/prometheus/scrape-config.yaml")?)?;
    scraping::check(repo)?;
    dashboard::check(&read("deploy/grafana/oomwatch.json")?)?;
    pages_are_there(&rules, &read("docs/alerts.md")?)
}

/// As an entry of a whole configuration.
fn scrape_config_is_right(repo: &Repo, promtool: &Path, scrape_config: &str) -> Result<()> {
    let file = repo.target().join("deploy/prometheus.yml");
    let rules = repo.deploy().join("prometheus/rules.yaml");
    let whole = format!("rule_files: [{}]\nscrape_configs:\n{scrape_config}", rules.display());
    fs::write(&file, whole).with_context(|| format!("cannot write {}", file.display()))?;
    run::read(Command::new(promtool).args(["check", "config"]).arg(&file)).map(drop)
}

/// Writes what is made of `rules.yaml`.
pub(crate) fn bless(repo: &Repo) -> Result<()> {
    let folder = repo.deploy().join("prometheus");
    let rules = fs::read_to_string(folder.join("rules.yaml")).context("cannot read rules.yaml")?;
    fs::write(folder.join("prometheusrule.yaml"), for_operator(&rules))
        .context("cannot write prometheusrule.yaml")
}

fn for_operator(rules: &str) -> String {
    let lines = rules.lines().skip_while(|line| line.starts_with('#'));
    let indented = lines.map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") });
    HEAD.chars().chain(indented.collect::<String>().chars()).collect()
}

/// Every alert has a runbook, and the runbook a section for it.
fn pages_are_there(rules: &str, pages: &str) -> Result<()> {
    let of = |key: &str| -> Vec<String> {
        let values = rules.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key));
        values.map(|value| value.trim().to_owned()).collect()
    };
    let (alerts, books) = (of("alert:"), of("runbook_url:"));
    ensure!(
        !alerts.is_empty() && alerts.len() == books.len(),
        "{} alerts have {} runbooks",
        alerts.len(),
        books.len()
    );
    for (alert, book) in alerts.iter().zip(&books) {
        let (_, anchor) =
            book.split_once("docs/alerts.md#").with_context(|| format!("{book} is not in docs/alerts.md"))?;
        ensure!(anchor == alert.to_lowercase(), "the runbook of {alert} is {book}");
        ensure!(
            pages.lines().any(|line| line == format!("## {alert}")),
            "docs/alerts.md has no section {alert}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "\
# words
groups:
  - rules:
      - alert: A
        expr: |
          1

        runbook_url: x/docs/alerts.md#a
";

    #[test]
    fn the_operator_gets_the_same_rules() {
        let made = for_operator(RULES);
        let made: serde_json::Value = serde_saphyr::from_str(&made).unwrap();
        let rules: serde_json::Value = serde_saphyr::from_str(RULES).unwrap();
        assert_eq!(made["spec"]["groups"], rules["groups"]);
    }

    #[test]
    fn an_alert_without_a_page_is_found() {
        assert!(pages_are_there(RULES, "## A\n").is_ok());
        assert!(pages_are_there(RULES, "## B\n").is_err());
        assert!(pages_are_there(&RULES.replace("#a", "#b"), "## A\n").is_err());
        assert!(pages_are_there(&RULES.replace("runbook_url", "url"), "## A\n").is_err());
        assert!(pages_are_there("", "").is_err());
    }
}

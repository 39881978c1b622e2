//! `mpreg doctor`: whether a router can run here, and how well.

use std::io::Write;
use std::path::PathBuf;

use mpreg_tuning::facts::Facts;
use mpreg_tuning::finding::{Check, Finding, Verdict};
use mpreg_tuning::report::Report;
use mpreg_tuning::wish::Wish;
use mpreg_tuning::{judge, profile};

use super::{CommandError, Exit, complain, host};
use crate::config::{Config, File};

/// Check whether this machine suits a router. Changes nothing; exit code 1 if it does not.
///
/// Blocking findings keep a router from starting; advice names what would make it faster or
/// steadier. Both are judged against what `serve` would be started with.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Configuration of the router that is to run here.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data shards of the router that is to run here.
    #[arg(long, value_name = "N")]
    shards: Option<u64>,
    /// Print the profile of this name, as findings refer to it, and check nothing.
    #[arg(long, value_name = "NAME", exclusive = true)]
    profile: Option<String>,
}

/// There is no such profile.
#[derive(Debug, thiserror::Error)]
#[error("no profile is called {name:?}, there are: {}", names())]
struct NoProfile<'a> {
    name: &'a str,
}

fn names() -> String {
    profile::ALL.map(|profile| profile.name).join(", ")
}

impl Doctor {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        if let Some(name) = &self.profile {
            return print_profile(name, out);
        }
        let mut file = self.config.as_deref().map_or_else(|| Ok(File::default()), File::read)?;
        if let Some(shards) = self.shards {
            file.node.shards = shards;
        }
        let mut config = Config::try_from(file).map_err(crate::config::LoadConfigError::from)?;
        host::settle_cores(&mut config.node, host::cpus_allowed()?)?;
        host::raise_limits();
        let report = Report::new(findings(&Facts::of_host(), &host::wish(&config)));
        if self.json {
            serde_json::to_writer(&mut *out, &report).map_err(std::io::Error::from)?;
            writeln!(out)?;
        } else {
            write!(out, "{report}")?;
        }
        Ok(if report.is_ready() { Exit::Done } else { Exit::No })
    }
}

/// What `serve` would meet: it starts with fewer connections where descriptors are short of those
/// configured, so that alone is advice.
fn findings(facts: &Facts, wish: &Wish) -> Vec<Finding> {
    let mut findings = judge::judge(facts, wish);
    let granted = Wish { connections_max: host::connections_granted(wish) as u64, ..*wish };
    let blocks =
        |finding: &Finding| finding.check == Check::Nofile && finding.verdict == Verdict::Blocking;
    if !judge::judge(facts, &granted).iter().any(blocks) {
        for finding in findings.iter_mut().filter(|finding| blocks(finding)) {
            finding.verdict = Verdict::Advice;
        }
    }
    findings
}

fn print_profile(name: &str, out: &mut impl Write) -> Result<Exit, CommandError> {
    match profile::by_name(name) {
        Some(profile) => {
            out.write_all(profile.text.as_bytes())?;
            Ok(Exit::Done)
        }
        None => {
            complain(&NoProfile { name });
            Ok(Exit::CouldNotAsk)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doctor(profile: Option<&str>) -> Doctor {
        Doctor {
            json: true,
            config: None,
            shards: Some(1),
            profile: profile.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn descriptors_for_some_connections_are_advice() {
        let facts = Facts::of_host();
        let verdict = |connections_max| {
            let wish = Wish { shards: 1, connections_max, memory_budget_bytes: 1 << 20 };
            let findings = findings(&facts, &wish);
            findings.into_iter().find(|finding| finding.check == Check::Nofile).unwrap().verdict
        };
        assert_eq!(verdict(1), Verdict::Ok);
        assert_eq!(verdict(u64::from(u32::MAX) << 8), Verdict::Advice);
    }

    #[test]
    fn exit_code_and_report_agree() {
        let mut out = Vec::new();
        let exit = doctor(None).run(&mut out).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let is_ready = report["ready"].as_bool().unwrap();
        assert_eq!(exit, if is_ready { Exit::Done } else { Exit::No });
        assert!(!report["findings"].as_array().unwrap().is_empty());
    }

    #[test]
    fn every_profile_can_be_printed_by_the_name_findings_use() {
        for profile in profile::ALL {
            let mut out = Vec::new();
            assert_eq!(doctor(Some(profile.name)).run(&mut out).unwrap(), Exit::Done);
            assert_eq!(String::from_utf8(out).unwrap(), profile.text);
        }
        let mut out = Vec::new();
        assert_eq!(doctor(Some("none")).run(&mut out).unwrap(), Exit::CouldNotAsk);
        assert!(out.is_empty());
    }
}

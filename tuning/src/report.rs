//! All findings together: a table for people, JSON for scripts, an exit code for both.

use std::fmt;

use serde::Serialize;

use crate::finding::{Finding, Verdict};

/// `Display` is the table. JSON is `{"ready": bool, "findings": [{check, verdict, found, wanted,
/// remedy, profile}]}`; names and verdicts are stable, sentences are not.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    ready: bool,
    findings: Vec<Finding>,
}

impl Report {
    pub fn new(findings: Vec<Finding>) -> Self {
        let ready = findings.iter().all(|finding| finding.verdict != Verdict::Blocking);
        Self { ready, findings }
    }

    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Nothing keeps a router from starting here.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// 0 ready, 1 not ready.
    pub fn exit_code(&self) -> u8 {
        match self.ready {
            true => 0,
            false => 1,
        }
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let Finding { check, verdict, found, wanted, remedy, profile } = finding;
            writeln!(out, "{:<9} {:<15} {found}", verdict.as_str(), check.as_str())?;
            let Some(remedy) = remedy else {
                continue;
            };
            writeln!(out, "{:<25} wanted:  {wanted}", "")?;
            writeln!(out, "{:<25} change:  {remedy}", "")?;
            if let Some(profile) = profile {
                writeln!(out, "{:<25} profile: {profile}", "")?;
            }
        }
        let [ok, advice, blocking] =
            [Verdict::Ok, Verdict::Advice, Verdict::Blocking].map(|verdict| self.count(verdict));
        let verdict = if self.ready { "ready" } else { "not ready" };
        writeln!(out, "{verdict}: {ok} ok, {advice} advice, {blocking} blocking")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Check;
    use crate::profile;

    fn mixed() -> Report {
        Report::new(vec![
            Finding::ok(Check::Kernel, "6.18.0", "6.12 or newer"),
            Finding::ok(Check::Swap, "on", "off").advice("swapoff").fixed_by(&profile::SYSCTL),
            Finding::ok(Check::Memlock, "64 KiB", "1 MiB").blocking("raise it"),
        ])
    }

    #[test]
    fn table_says_more_about_what_is_wrong() {
        let want = "\
ok        kernel          6.18.0
advice    swap            on
                          wanted:  off
                          change:  swapoff
                          profile: sysctl.conf
blocking  memlock         64 KiB
                          wanted:  1 MiB
                          change:  raise it
not ready: 1 ok, 1 advice, 1 blocking
";
        assert_eq!(mixed().to_string(), want);
    }

    #[test]
    fn json_has_stable_names() {
        let json = serde_json::to_value(mixed()).unwrap();
        assert_eq!(json["ready"], false);
        assert_eq!(
            json["findings"][1],
            serde_json::json!({
                "check": "swap", "verdict": "advice", "found": "on", "wanted": "off",
                "remedy": "swapoff", "profile": "sysctl.conf",
            })
        );
        assert_eq!(json["findings"][0]["remedy"], serde_json::Value::Null);
    }

    #[test]
    fn advice_alone_is_ready() {
        let swap = Finding::ok(Check::Swap, "on", "off").advice("swapoff");
        let report = Report::new(vec![swap]);
        assert!(report.is_ready());
        assert_eq!(report.exit_code(), 0);
        assert_eq!(mixed().exit_code(), 1);
    }
}

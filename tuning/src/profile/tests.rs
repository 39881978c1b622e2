//! Shipped files: they exist, each setting says why, and together they satisfy the checks.

use std::path::Path;

use super::*;
use crate::fake::{FakeHost, WISH};
use crate::finding::{Check, Verdict};
use crate::wish::Wish;

/// Settings of a file: lines that are neither comment nor section nor blank.
fn settings(profile: &Profile) -> Vec<&'static str> {
    let is_setting = |line: &&str| !line.is_empty() && !line.starts_with(['#', '[']);
    profile.text.lines().filter(is_setting).collect()
}

fn value_of(profile: &Profile, key: &str) -> &'static str {
    settings(profile)
        .into_iter()
        .find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='))
        .unwrap_or_else(|| panic!("{} does not set {key}", profile.name))
        .trim()
}

#[test]
fn files_lie_where_their_names_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
    for profile in ALL {
        let text = std::fs::read_to_string(directory.join(profile.name)).unwrap();
        assert_eq!(text, profile.text, "{}", profile.name);
        assert_eq!(by_name(profile.name), Some(profile));
    }
    assert_eq!(by_name("no-such.conf"), None);
}

#[test]
fn every_setting_says_why_in_the_lines_above() {
    for profile in ALL.into_iter().filter(|profile| profile.install_as.is_some()) {
        assert!(!settings(&profile).is_empty(), "{}", profile.name);
        let mut words = 0;
        for line in profile.text.lines() {
            match line.strip_prefix('#') {
                Some(comment) => words += comment.split_whitespace().count(),
                None if settings(&profile).contains(&line) => {
                    assert!(8 <= words, "{}: {line}: no reason above it", profile.name);
                    words = 0;
                }
                None => words = 0,
            }
        }
    }
}

#[test]
fn every_call_and_option_for_containers_has_a_reason() {
    let text = DOCKER.text;
    let mut names = vec!["--security-opt seccomp=", "--ulimit memlock=", "--ulimit nofile="];
    let rule = text.lines().find(|line| line.contains("\"names\"")).unwrap();
    names.extend(rule.split('"').filter(|name| name.starts_with("io_uring_")));
    assert_eq!(names.len(), 6);
    for name in names {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).unwrap();
        assert!(5 <= row.split_whitespace().count(), "{row}");
    }
}

#[test]
fn installed_files_name_their_place() {
    for profile in ALL {
        if let Some(path) = profile.install_as {
            assert!(profile.text.contains(&format!("Install as {path}")), "{}", profile.name);
        }
    }
}

/// A machine on which every sysctl the checks know is wrong, and swap is in use.
fn neglected() -> FakeHost {
    FakeHost::good()
        .edit("proc/meminfo", "SwapTotal:             0", "SwapTotal: 1048576")
        .with("proc/sys/net/core/somaxconn", "128")
        .with("proc/sys/net/ipv4/tcp_rmem", "4096 8192 65536")
        .with("proc/sys/net/ipv4/tcp_wmem", "4096 8192 65536")
}

#[test]
fn sysctl_file_clears_every_finding_that_refers_to_it() {
    let refers = |host: &FakeHost| {
        let mut findings = host.findings();
        findings.retain(|finding| finding.profile == Some(SYSCTL.name));
        findings.into_iter().map(|finding| finding.check).collect::<Vec<_>>()
    };
    assert_eq!(refers(&neglected()), [Check::Swap, Check::AcceptBacklog, Check::SocketBuffers]);
    let tuned = settings(&SYSCTL).into_iter().fold(neglected(), |host, line| {
        let (key, value) = line.split_once('=').unwrap();
        host.with(&format!("proc/sys/{}", key.trim().replace('.', "/")), value.trim())
    });
    assert_eq!(refers(&tuned), []);
    assert_eq!(value_of(&SYSCTL, "kernel.io_uring_disabled"), "0");
}

#[test]
fn limit_files_allow_as_much_as_they_claim() {
    let word = |name: &str| {
        let line = settings(&LIMITS).into_iter().find(|line| line.contains(name)).unwrap();
        line.split_whitespace().last().unwrap().parse::<u64>().unwrap()
    };
    let (memlock_bytes, nofile) = (word("memlock") * 1024, word("nofile"));
    assert_eq!(value_of(&UNIT, "LimitMEMLOCK"), format!("{}M", memlock_bytes >> 20));
    assert_eq!(value_of(&UNIT, "LimitNOFILE"), nofile.to_string());
    assert!(DOCKER.text.contains(&format!("--ulimit memlock={memlock_bytes} ")));
    assert!(DOCKER.text.contains(&format!("--ulimit nofile={nofile} ")));
    // "enough for 127 shards", in each of the three.
    let most = Wish { shards: 127, ..WISH };
    assert!(most.memlock_bytes() <= memlock_bytes && most.nofile() <= nofile);
    let mut host = FakeHost::good();
    host.wish = most;
    for check in [Check::Memlock, Check::Nofile] {
        assert_eq!(host.finding(check).verdict, Verdict::Ok);
    }
}

#[test]
fn written_files_hold_what_the_checks_want() {
    let [pages, governor] = settings(&TMPFILES)[..] else {
        panic!("two settings");
    };
    assert!(pages.starts_with("w /sys/kernel/mm/transparent_hugepage/enabled "));
    assert!(pages.ends_with(" madvise"));
    assert!(governor.contains("/cpufreq/scaling_governor "));
    assert!(governor.ends_with(" performance"));
}

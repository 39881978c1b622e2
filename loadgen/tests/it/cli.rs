//! The binary: its exit codes, its JSON, its files.

use std::process::{Command, Output};

use serde_json::Value;

use crate::forwarder::{Forwarder, Mischief};

fn loadgen(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mpreg-loadgen"))
        .args(args)
        .output()
        .expect("the binary was built")
}

/// Options that keep a run short.
const SHORT: [&str; 8] =
    ["--duration", "0.2", "--warm-up", "0.05", "--drain", "0.3", "--window", "32"];

#[test]
fn a_clean_run_exits_with_0_and_prints_one_json_object() {
    let forwarder = Forwarder::start(Mischief::None);
    let pid = std::process::id().to_string();
    let mut args = vec!["run", "--target", &forwarder.url, "--workload", "one-to-one"];
    args.extend(["--connections", "2", "--subscribers", "2", "--payload", "64", "--rate", "max"]);
    args.extend(["--router-pid", &pid, "--json"]);
    args.extend(SHORT);
    let output = loadgen(&args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    for key in ["sent", "received", "expected", "throughput_per_s", "router_cpu_ns_per_message"] {
        assert!(0.0 < json[key].as_f64().unwrap(), "{key} in {json}");
    }
    for key in ["lost", "duplicated", "reordered", "corrupted"] {
        assert_eq!(json[key], 0, "{key} in {json}");
    }
    for key in ["p50", "p90", "p99", "p999", "p9999", "max"] {
        assert!(0.0 < json["latency_us"][key].as_f64().unwrap(), "{key} in {json}");
    }
}

#[test]
fn any_fault_exits_with_1() {
    for mischief in
        [Mischief::Lose(100), Mischief::Duplicate(100), Mischief::Swap(100), Mischief::Corrupt(100)]
    {
        let forwarder = Forwarder::start(mischief);
        let mut args = vec!["run", "--target", &forwarder.url, "--json"];
        args.extend(SHORT);
        let output = loadgen(&args);
        assert_eq!(output.status.code(), Some(1), "{mischief:?}: {output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap();
    }
}

#[test]
fn what_cannot_be_run_exits_with_2_and_says_why() {
    let refused = [
        (vec!["--target", "mpreg://127.0.0.1:1"], "cannot connect"),
        (vec!["--target", "http://127.0.0.1:1"], "unknown scheme"),
        (vec!["--target", "mpreg://127.0.0.1:1", "--payload", "15"], "within 16..="),
        (vec!["--target", "mpreg://127.0.0.1:1", "--rate", "0"], "a rate is"),
    ];
    for (args, why) in refused {
        let output = loadgen(&[vec!["run"], args].concat());
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn a_run_leaves_the_files_it_was_asked_for() {
    let forwarder = Forwarder::start(Mischief::None);
    let dir = tempfile::tempdir().unwrap();
    let (hlog, svg) = (dir.path().join("run.hlog"), dir.path().join("run.svg"));
    let mut args = vec!["run", "--target", &forwarder.url];
    args.extend(["--hlog", hlog.to_str().unwrap(), "--svg", svg.to_str().unwrap()]);
    args.extend(SHORT);
    let output = loadgen(&args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("one-to-one to mpreg://"));
    assert!(std::fs::read_to_string(hlog).unwrap().contains("HISTFAAA"));
    assert!(std::fs::read_to_string(svg).unwrap().starts_with("<svg"));
}

#[test]
fn a_comparison_prints_ratios_of_interleaved_rounds() {
    let (a, b) = (Forwarder::start(Mischief::None), Forwarder::start(Mischief::None));
    let pid = std::process::id().to_string();
    let mut args = vec!["compare", "--a", &a.url, "--a-pid", &pid, "--b", &b.url, "--b-pid", &pid];
    args.extend(["--rounds", "2", "--json"]);
    args.extend(SHORT);
    let output = loadgen(&args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let first: Vec<_> = json["runs"].as_array().unwrap().iter().map(|run| &run["first"]).collect();
    assert_eq!(first, ["a", "b"]);
    for figure in ["/throughput_per_s", "/router_cpu_ns_per_message", "/latency_us/p9999"] {
        let ratio = json["ratio"].pointer(figure).unwrap();
        let number = |key: &str| ratio[key].as_f64().unwrap();
        assert!(0.0 < number("min") && number("min") <= number("median"), "{figure}: {ratio}");
        assert!(number("median") <= number("max"), "{figure}: {ratio}");
    }
}

#[test]
fn a_comparison_with_a_lossy_side_exits_with_1() {
    let (a, b) = (Forwarder::start(Mischief::None), Forwarder::start(Mischief::Lose(100)));
    let mut args = vec!["compare", "--a", &a.url, "--b", &b.url, "--rounds", "1"];
    args.extend(SHORT);
    assert_eq!(loadgen(&args).status.code(), Some(1));
}

#[test]
fn a_sweep_runs_at_fractions_of_the_knee() {
    let forwarder = Forwarder::start(Mischief::None);
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let mut args = vec!["sweep", "--target", &forwarder.url, "--fractions", "10,20", "--json"];
    args.extend(["--knee", "20000", "--out", out]);
    args.extend(SHORT);
    let output = loadgen(&args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rates: Vec<_> =
        json["steps"].as_array().unwrap().iter().map(|step| &step["report"]["rate"]).collect();
    assert_eq!(rates, [2000, 4000]);
    let mut files: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    let want =
        ["latency-10.hlog", "latency-10.svg", "latency-20.hlog", "latency-20.svg", "latency.svg"];
    assert_eq!(files, want);
}

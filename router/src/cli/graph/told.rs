//! What the router says of a call graph, read again and shown as text.

use core::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::shown::Failed;

/// One thing the router says.
#[derive(Debug)]
pub(super) enum Told<'a> {
    Report(Report<'a>),
    Event(Event),
}

/// The whole of it.
#[derive(Debug, Deserialize)]
pub(super) struct Report<'a> {
    #[serde(borrow)]
    results: Members<&'a RawValue>,
    #[serde(default)]
    results_hex: Members<String>,
    errors: Members<Failed>,
    summary: Summary,
}

/// Of a graph that is streamed.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    error: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Summary {
    took_us: u64,
    commands: Members<Spent>,
    critical_path: CriticalPath,
}

#[derive(Debug, Deserialize)]
struct Spent {
    waiting_us: u64,
    queued_us: u64,
    calling_us: u64,
}

#[derive(Debug, Deserialize)]
struct CriticalPath {
    commands: Vec<String>,
    took_us: u64,
}

/// An object, in its order.
#[derive(Debug)]
struct Members<T>(Vec<(String, T)>);

impl<'a> Told<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Kind {
            results: Option<IgnoredAny>,
        }
        let Kind { results } = serde_json::from_str(text)?;
        Ok(match results {
            Some(_) => Self::Report(serde_json::from_str(text)?),
            None => Self::Event(serde_json::from_str(text)?),
        })
    }

    /// Whether it tells of no command that failed.
    pub(super) fn is_well(&self) -> bool {
        match self {
            Self::Report(report) => report.errors.0.is_empty(),
            Self::Event(event) => event.error.is_none(),
        }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, _) in &self.summary.commands.0 {
            if let Some(result) = self.results.get(name) {
                // Text comes as a string.
                match serde_json::from_str::<String>(result.get()) {
                    Ok(text) => writeln!(f, "{name}: {}", text.trim_end())?,
                    Err(_) => writeln!(f, "{name}: {result}")?,
                }
            }
            if let Some(digits) = self.results_hex.get(name) {
                writeln!(f, "{name}: hex {digits}")?;
            }
            if let Some(Failed { code, reason, .. }) = self.errors.get(name) {
                writeln!(f, "{name}: {code}: {reason}")?;
            }
        }
        writeln!(f, "\n{:>12} {:>12} {:>12}  us", "waited", "queued", "called")?;
        for (name, Spent { waiting_us, queued_us, calling_us }) in &self.summary.commands.0 {
            writeln!(f, "{waiting_us:>12} {queued_us:>12} {calling_us:>12}  {name}")?;
        }
        let Summary { took_us, critical_path: CriticalPath { commands, took_us: path_us }, .. } =
            &self.summary;
        write!(f, "took {took_us} us")?;
        match commands.is_empty() {
            true => writeln!(f),
            false => writeln!(f, ", the longest way {path_us} us: {}", commands.join(", ")),
        }
    }
}

impl<T> Members<T> {
    fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(of, _)| of == name).map(|(_, value)| value)
    }
}

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct InOrder<T>(core::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Members<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<T>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(InOrder(core::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    const REPORT: &str = r#"{"results":{"a":{"x": 1.0},"t":"two\nlines\n"},"results_hex":{"b":"00ff"},
        "errors":{"c":{"code":"worker_failed","reason":"no luck","target":"do.c","path":["1"],"may_have_run":true},
        "d":{"code":"skipped","reason":"c has no result","target":"do.d","path":[],"may_have_run":false,"because":"c"}},
        "summary":{"took_us":70,"commands":{"b":{"waiting_us":0,"queued_us":1,"calling_us":2},
        "a":{"waiting_us":1,"queued_us":1,"calling_us":10,"cluster_hops":1},"t":{"waiting_us":3,"queued_us":1,"calling_us":2},
        "c":{"waiting_us":2,"queued_us":1,"calling_us":20},"d":{"waiting_us":3,"queued_us":0,"calling_us":0}},
        "critical_path":{"commands":["a","c"],"took_us":30}}}"#;

    #[test]
    fn as_text_it_is_a_line_each_and_a_table_in_the_order_of_the_file() {
        let Told::Report(report) = Told::read(REPORT).unwrap() else { panic!("{REPORT}") };
        expect![[r#"
            b: hex 00ff
            a: {"x": 1.0}
            t: two
            lines
            c: worker_failed: no luck
            d: skipped: c has no result

                  waited       queued       called  us
                       0            1            2  b
                       1            1           10  a
                       3            1            2  t
                       2            1           20  c
                       3            0            0  d
            took 70 us, the longest way 30 us: a, c
        "#]]
        .assert_eq(&report.to_string());
    }

    #[test]
    fn errors_show_in_both_forms() {
        let is_well = |text: &str| Told::read(text).unwrap().is_well();
        assert!(!is_well(REPORT));
        let summary =
            r#""summary":{"took_us":0,"commands":{},"critical_path":{"commands":[],"took_us":0}}"#;
        assert!(is_well(&format!("{{\"results\":{{}},\"errors\":{{}},{summary}}}")));
        assert!(is_well(r#"{"command":"a","result":{"error":1}}"#));
        assert!(is_well(r#"{"command":"a","result_hex":"ff"}"#));
        assert!(!is_well(r#"{"command":"a","error":{"code":"deadline"}}"#));
        assert!(is_well(&format!("{{{summary}}}")));
        assert!(Told::read("[]").is_err());
    }
}

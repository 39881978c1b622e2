//! The metrics page, read back.

use std::collections::BTreeMap;

/// Values by series, as `name{label="value"}` names them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page(BTreeMap<String, f64>);

impl Page {
    /// # Panics
    ///
    /// If a line is none of Prometheus's text format.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let value = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        let pair = |line| value(line).unwrap_or_else(|| panic!("not a metric: {line}"));
        Self(lines.map(pair).collect())
    }

    /// The sum over all series of this name that have each of `labels`, given as `key="value"`.
    pub fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        let is_of = |series: &str| {
            let (stem, of) = series.split_once('{').unwrap_or((series, ""));
            let of = of.trim_end_matches('}').split(',');
            stem == name && labels.iter().all(|label| of.clone().any(|has| has == *label))
        };
        self.0.iter().filter(|(series, _)| is_of(series)).map(|(_, value)| *value as u64).sum()
    }

    pub fn dropped(&self, reason: &str) -> u64 {
        self.sum("mpreg_messages_dropped_total", &[&format!("reason=\"{reason}\"")])
    }

    pub fn refused(&self, code: &str) -> u64 {
        self.sum("mpreg_refusals_total", &[&format!("code=\"{code}\"")])
    }

    /// Open connections of one shard.
    pub fn sessions_on(&self, shard: usize) -> u64 {
        self.sum("mpreg_sessions", &[&format!("shard=\"{shard}\"")])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_what_has_every_label() {
        let page = Page::parse(
            "# HELP a_total x\na_total{shard=\"0\",code=\"x\"} 1\na_total{shard=\"1\",code=\"x\"} 2\n\
             a_total{shard=\"1\",code=\"y\"} 4\nb 8\n# EOF\n",
        );
        assert_eq!(page.sum("a_total", &[]), 7);
        assert_eq!(page.sum("a_total", &["code=\"x\""]), 3);
        assert_eq!(page.sum("a_total", &["shard=\"1\"", "code=\"x\""]), 2);
        assert_eq!((page.sum("b", &[]), page.sum("a", &[])), (8, 0));
    }
}

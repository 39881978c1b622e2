//! A set of CPU numbers, read and written as the kernel does: `0-3,8`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Highest CPU number accepted, far above `CONFIG_NR_CPUS` of any distribution (8192): a made-up
/// range must not cost memory.
const CPU_MAX: u32 = 65_535;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuSet(BTreeSet<u32>);

/// The text is not a list of CPU numbers and ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCpuList;

impl CpuSet {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    pub fn insert(&mut self, cpu: u32) {
        self.0.insert(cpu);
    }

    pub fn extend(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    pub fn meets(&self, other: &Self) -> bool {
        !self.0.is_disjoint(&other.0)
    }

    pub fn without(&self, other: &Self) -> Self {
        Self(&self.0 - &other.0)
    }
}

impl FromStr for CpuSet {
    type Err = NotCpuList;

    fn from_str(text: &str) -> Result<Self, NotCpuList> {
        let mut cpus = Self::default();
        for range in text.trim().split(',').filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let first: u32 = first.parse().map_err(|_| NotCpuList)?;
            let last: u32 = last.parse().map_err(|_| NotCpuList)?;
            if CPU_MAX < last || last < first {
                return Err(NotCpuList);
            }
            cpus.0.extend(first..=last);
        }
        Ok(cpus)
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while rest.next_if_eq(&(last + 1)).is_some() {
                last += 1;
            }
            match last == first {
                true => write!(out, "{separator}{first}")?,
                false => write!(out, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_read() {
        for text in ["", "0", "0-1", "0-3,8", "1,3,5-7", "65535"] {
            assert_eq!(text.parse::<CpuSet>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn joins_neighbours_when_printing() {
        assert_eq!("0,1,2,4".parse::<CpuSet>().unwrap().to_string(), "0-2,4");
    }

    #[test]
    fn refuses_text_and_ranges_without_end() {
        for text in ["x", "3-1", "0-65536", "1-", "-1"] {
            assert_eq!(text.parse::<CpuSet>(), Err(NotCpuList), "{text}");
        }
    }
}

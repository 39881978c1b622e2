//! Latency: an exact recording per thread, and a coarse one that others may read meanwhile.
//!
//! A [`Recorder`] keeps one histogram per interval of the measured window, all made and touched
//! before the run, so that recording never allocates and never faults a page in. A [`Sketch`] has
//! eight buckets per doubling: good to 12 %, enough for a progress line.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use hdrhistogram::Histogram;

/// Longest latency told apart, one minute; longer ones count as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Three digits: 0.1 %.
const DIGITS: u8 = 3;

/// Histograms a thread keeps; 200 KiB each. Longer runs have longer intervals.
const INTERVALS_MAX: u64 = 60;

/// Nanoseconds; u32 counts halve the memory touched while recording.
pub(crate) type LatencyHistogram = Histogram<u32>;

/// The measured part of a run, in nanoseconds since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub from_ns: u64,
    pub to_ns: u64,
}

/// One thread's latencies, by the time the message was due.
#[derive(Debug)]
pub(crate) struct Recorder {
    window: Window,
    interval_ns: u64,
    intervals: Vec<LatencyHistogram>,
}

impl Window {
    /// A second, or longer where that would be too many.
    pub(crate) fn interval_ns(self) -> u64 {
        (self.to_ns - self.from_ns).div_ceil(INTERVALS_MAX).max(1_000_000_000)
    }

    fn intervals_count(self) -> u64 {
        (self.to_ns - self.from_ns).div_ceil(self.interval_ns())
    }
}

pub(crate) fn histogram() -> LatencyHistogram {
    LatencyHistogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS).expect("bounds in order")
}

impl Recorder {
    pub(crate) fn new(window: Window) -> Self {
        let touched = || {
            let mut histogram = histogram();
            histogram.reset();
            histogram
        };
        Self {
            window,
            interval_ns: window.interval_ns(),
            intervals: (0..window.intervals_count()).map(|_| touched()).collect(),
        }
    }

    /// A message due at `due_ns` arrived at `now_ns`. Outside the window it is not recorded.
    #[inline]
    pub(crate) fn record(&mut self, due_ns: u64, now_ns: u64, sketch: &Sketch) {
        if due_ns < self.window.from_ns || self.window.to_ns <= due_ns {
            return;
        }
        let latency_ns = now_ns.saturating_sub(due_ns);
        let interval = (due_ns - self.window.from_ns) / self.interval_ns;
        self.intervals[interval as usize].saturating_record(latency_ns);
        sketch.record(latency_ns);
    }

    /// The histograms, one per interval of the window.
    pub(crate) fn into_intervals(self) -> Vec<LatencyHistogram> {
        self.intervals
    }
}

/// Buckets per doubling.
const STEPS: u32 = 8;

/// A histogram with one writer that may be read at any time.
#[derive(Debug)]
pub(crate) struct Sketch {
    buckets: [AtomicU32; 64 * STEPS as usize],
}

impl Default for Sketch {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU32::new(0)) }
    }
}

impl Sketch {
    #[inline]
    fn record(&self, latency_ns: u64) {
        let bucket = &self.buckets[bucket_of(latency_ns)];
        bucket.store(bucket.load(Relaxed).saturating_add(1), Relaxed);
    }

    /// The latency below which `quantile` of what all `sketches` hold lies, in nanoseconds.
    pub(crate) fn quantile_ns<'a>(
        sketches: impl Iterator<Item = &'a Self>,
        quantile: f64,
    ) -> Option<u64> {
        let mut sums = [0u64; 64 * STEPS as usize];
        for sketch in sketches {
            for (sum, bucket) in sums.iter_mut().zip(&sketch.buckets) {
                *sum += u64::from(bucket.load(Relaxed));
            }
        }
        let total: u64 = sums.iter().sum();
        let rank = (total as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        let at = sums.iter().position(|&count| {
            seen += count;
            0 < count && rank <= seen
        })?;
        Some(bucket_end_ns(at))
    }
}

/// Which bucket holds `ns`: its power of two, then the next three bits.
#[inline]
fn bucket_of(ns: u64) -> usize {
    let ns = ns.max(u64::from(STEPS));
    let power = ns.ilog2();
    let step = (ns >> (power - STEPS.ilog2())) as u32 & (STEPS - 1);
    (power * STEPS + step) as usize
}

fn bucket_end_ns(bucket: usize) -> u64 {
    let (power, step) = (bucket as u32 / STEPS, bucket as u64 % u64::from(STEPS));
    (u64::from(STEPS) + step + 1) << (power - STEPS.ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_due_in_the_window_are_recorded_each_in_its_interval() {
        let second = 1_000_000_000;
        let window = Window { from_ns: 2 * second, to_ns: 5 * second };
        let sketch = Sketch::default();
        let mut recorder = Recorder::new(window);
        for due_ns in [2 * second - 1, 2 * second, 4 * second - 1, 5 * second - 1, 5 * second] {
            recorder.record(due_ns, due_ns + 1000, &sketch);
        }
        let counts: Vec<_> = recorder.into_intervals().iter().map(Histogram::len).collect();
        assert_eq!(counts, [1, 1, 1]);
    }

    #[test]
    fn long_windows_have_at_most_sixty_intervals() {
        let day_ns = 86_400 * 1_000_000_000;
        let window = Window { from_ns: 0, to_ns: day_ns };
        assert_eq!(window.intervals_count(), 60);
        let mut recorder = Recorder::new(window);
        recorder.record(day_ns - 1, day_ns, &Sketch::default());
        assert_eq!(recorder.into_intervals()[59].len(), 1);
    }

    #[test]
    fn a_sketch_is_right_to_an_eighth() {
        let sketch = Sketch::default();
        for ns in 1..=100_000 {
            sketch.record(ns);
        }
        for (quantile, want) in [(0.5, 50_000.0), (0.99, 99_000.0), (1.0, 100_000.0)] {
            let got = Sketch::quantile_ns([&sketch].into_iter(), quantile).unwrap() as f64;
            assert!((want..=want * 1.125).contains(&got), "{quantile}: {got}");
        }
        assert_eq!(Sketch::quantile_ns([&Sketch::default()].into_iter(), 0.5), None);
    }

    #[test]
    fn every_latency_has_a_bucket() {
        let sketch = Sketch::default();
        [0, 1, 7, 8, u64::MAX].iter().for_each(|&ns| sketch.record(ns));
        assert_eq!(bucket_of(0), bucket_of(8));
        assert_eq!(bucket_of(u64::MAX), 64 * STEPS as usize - 1);
    }
}

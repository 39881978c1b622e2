//! The latencies as an HdrHistogram interval log, for its plotter and log processor.

use std::io;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError};

use super::{Recording, Report};

/// Values are nanoseconds; the log's readable maximum is in milliseconds, as its readers expect.
const NS_PER_MS: f64 = 1e6;

impl Report {
    /// Writes one line per interval of the measured window.
    pub fn write_hlog(&self, out: &mut impl io::Write) -> io::Result<()> {
        let Recording { started, offset, interval, intervals } = &self.recording;
        let mut serializer = V2DeflateSerializer::new();
        let workload = self.workload.name();
        let mut log = IntervalLogWriterBuilder::new()
            .add_comment(&format!("mpreg-loadgen {workload} to {}, ns", self.target))
            .with_base_time(*started)
            .with_start_time(*started)
            .with_max_value_divisor(NS_PER_MS)
            .begin_log_with(out, &mut serializer)?;
        for (number, histogram) in (0u32..).zip(intervals) {
            log.write_histogram(histogram, *offset + *interval * number, *interval, None).map_err(
                |error| match error {
                    IntervalLogWriterError::IoError(error) => error,
                    IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
                },
            )?;
        }
        Ok(())
    }
}

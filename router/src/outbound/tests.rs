//! Outbound queues against a list of frames.

//! Writes down what the control core's machine is told and wants, to be played again
//! (`fabric::control::record`).
//!
//! ```text
//!   RECORDING --too long, disk too slow, disk failed, node stopped--> ENDED: the node goes on without
//! ```
//!
//! A thread of its own writes; the control core waits for it only when the node stops. What is handed over is
//! written at once when nothing else waits, so that a killed process leaves all but the last moments.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use mpreg_fabric::control::record::{self, Step};
use mpreg_fabric::control::{Control, Effect, Input, Settings};
use mpreg_fabric::time::Instant;

use crate::limits::{RECORDED_BYTES_MAX, STEPS_UNWRITTEN_MAX};
use crate::probe::PeerProbe;

/// One recording.
#[derive(Debug)]
pub struct Recorder {
    /// `None`: it has ended.
    steps: Option<Sender<Vec<u8>>>,
    writer: Option<JoinHandle<()>>,
    bytes: u64,
    probe: Arc<PeerProbe>,
}

impl Recorder {
    /// A machine, and its recording in a new file. Others say in it what they tell nodes alone, so nobody
    /// but its owner may read it.
    pub fn start(
        path: &Path,
        settings: Settings,
        probe: Arc<PeerProbe>,
    ) -> io::Result<(Control, Self)> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let (steps, unwritten) = bounded(STEPS_UNWRITTEN_MAX);
        let of_writer = Arc::clone(&probe);
        let write = move || {
            if let Err(error) = write(file, &unwritten) {
                of_writer.recordings_ended.add("disk_failed");
                tracing::warn!(%error, "the recording has ended");
            }
        };
        let writer = thread::Builder::new().name("mpreg-recorder".to_owned()).spawn(write)?;
        let (control, head) = record::begin(settings);
        let mut recorder = Self { steps: Some(steps), writer: Some(writer), bytes: 0, probe };
        recorder.keep(head);
        Ok((control, recorder))
    }

    pub(super) fn is_recording(&self) -> bool {
        self.steps.is_some()
    }

    pub(super) fn ended(&mut self, step: Step, control: &mut Control, effects: &[Effect]) {
        self.keep(step.end(control, effects));
        if !self.is_recording() {
            record::end(control);
        }
    }

    fn keep(&mut self, bytes: Vec<u8>) {
        self.bytes += bytes.len() as u64;
        let Some(steps) = &self.steps else { return };
        let why = if RECORDED_BYTES_MAX < self.bytes {
            "full"
        } else if let Err(refused) = steps.try_send(bytes) {
            // Whoever wrote has said why it stopped.
            if refused.is_disconnected() { "" } else { "disk_slow" }
        } else {
            self.probe.recorded_bytes.set(self.bytes);
            return;
        };
        self.steps = None;
        if !why.is_empty() {
            self.probe.recordings_ended.add(why);
            tracing::warn!(reason = why, "the recording has ended");
        }
    }
}

impl Drop for Recorder {
    /// What was handed over is written.
    fn drop(&mut self) {
        self.steps = None;
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::warn!("the thread that wrote the recording has panicked");
        }
    }
}

/// The machine is told this, and it is written down if a recording is being made.
pub(super) fn feed(
    control: &mut Control,
    recorder: Option<&mut Recorder>,
    input: Input,
    now: Instant,
    effects: &mut Vec<Effect>,
) {
    let recorder = recorder.filter(|recorder| recorder.is_recording());
    let step = recorder.is_some().then(|| Step::new(now, &input));
    let before = effects.len();
    control.handle(input, now, effects);
    if let (Some(recorder), Some(step)) = (recorder, step) {
        recorder.ended(step, control, &effects[before..]);
    }
}

fn write(file: File, unwritten: &Receiver<Vec<u8>>) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    loop {
        let step = match unwritten.try_recv() {
            Ok(step) => step,
            Err(TryRecvError::Disconnected) => return file.flush(),
            Err(TryRecvError::Empty) => {
                file.flush()?;
                let Ok(step) = unwritten.recv() else { return Ok(()) };
                step
            }
        };
        file.write_all(&step)?;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use mpreg_fabric::control::record::replay;
    use mpreg_proto::id::{Incarnation, NodeId};

    use super::*;

    fn settings() -> Settings {
        let (cluster, address) = ("here".parse().unwrap(), "x:1".parse().unwrap());
        Settings::new(NodeId(1), cluster, Incarnation(1), address, 1)
    }

    /// Whether a recording still goes on after so many turns, and the reason it ended for.
    fn turns(recorder: &mut Recorder, control: &mut Control, count: u64) {
        for turn in 0..count {
            let now = Instant::from_nanos(turn * 1_000_000_000);
            let input = if turn == 0 { Input::Started } else { Input::DeadlineReached };
            feed(control, Some(recorder), input, now, &mut Vec::new());
        }
    }

    #[test]
    fn it_is_for_its_owner_alone_and_never_replaces_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recording");
        let probe = Arc::new(PeerProbe::default());
        let (mut control, mut recorder) =
            Recorder::start(&path, settings(), Arc::clone(&probe)).unwrap();
        turns(&mut recorder, &mut control, 100);
        drop(recorder);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(probe.recorded_bytes.get(), bytes.len() as u64);
        let replayed = replay(&bytes, |_, _, _| ()).unwrap();
        assert_eq!((replayed.steps, replayed.difference), (100, None));
        let again = Recorder::start(&path, settings(), probe).err().map(|error| error.kind());
        assert_eq!(again, Some(io::ErrorKind::AlreadyExists));
    }

    #[test]
    fn the_node_goes_on_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let probe = Arc::new(PeerProbe::default());
        let path = folder.path().join("recording");
        let (mut control, mut recorder) =
            Recorder::start(&path, settings(), Arc::clone(&probe)).unwrap();
        turns(&mut recorder, &mut control, 10);
        // As if a long time had passed.
        recorder.bytes = RECORDED_BYTES_MAX;
        turns(&mut recorder, &mut control, 10);
        assert!(!recorder.is_recording());
        assert_eq!(probe.recordings_ended.get().get("full"), Some(&1));
        drop(recorder);
        let replayed = replay(&std::fs::read(&path).unwrap(), |_, _, _| ()).unwrap();
        assert_eq!((replayed.steps, replayed.is_torn, replayed.difference), (10, false, None));
    }
}

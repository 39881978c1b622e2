//! Cost of a descriptor from one core to another, by kind of queue.
//! `cargo bench -p mpreg-bench --bench handoff`. On one core it measures the scheduler.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::Throughput;
use crossbeam::queue::ArrayQueue;
use mpreg_bench::sample;

/// Slots of each queue: those of a ring between two shards.
const SLOTS: usize = 1024;

/// Descriptors taken at a time where a queue can.
const CHUNK: usize = 64;

/// What goes through: a page, an offset, a length and a topic's route, say.
type Descriptor = [u64; 4];

/// How long this many take.
type Race = fn(u64) -> Duration;

const KINDS: [(&str, Race); 4] = [
    ("rtrb", rtrb_single),
    ("rtrb-chunks", rtrb_chunks),
    ("crossbeam-array-queue", array_queue),
    ("crossbeam-channel", channel),
];

fn main() {
    let mut criterion = mpreg_bench::criterion();
    let mut group = criterion.benchmark_group("handoff");
    group.throughput(Throughput::Elements(1));
    // Few at a time are a measurement of thread creation.
    let at_least = if sample::is_measuring() { 200_000 } else { 2_000 };
    for (name, run) in KINDS {
        group.bench_function(name, |b| {
            b.iter_custom(|times| {
                let count = times.max(at_least);
                run(count).mul_f64(times as f64 / count as f64)
            });
        });
    }
    group.finish();
    criterion.final_summary();
}

/// Pushes 0 to `count` on one thread and pops them on another, each on its core, in order.
fn race(
    count: u64,
    mut push: impl FnMut(Descriptor) -> bool + Send,
    mut pop: impl FnMut(&mut dyn FnMut(Descriptor)) -> usize + Send,
) -> Duration {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let (first, last) = (cores.first().copied(), cores.last().copied());
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            last.map(core_affinity::set_for_current);
            let mut next = 0;
            while next < count {
                let taken = pop(&mut |descriptor| {
                    assert_eq!(descriptor[0], next, "in order");
                    next += 1;
                });
                if taken == 0 {
                    pause();
                }
            }
            Instant::now()
        });
        let writer = scope.spawn(move || {
            first.map(core_affinity::set_for_current);
            let started = Instant::now();
            for number in 0..count {
                while !push([number; 4]) {
                    pause();
                }
            }
            started
        });
        let started = writer.join().expect("the writer does not panic");
        reader.join().expect("everything arrives in order") - started
    })
}

/// A spin that lets the other side run where there is one core only.
fn pause() {
    if thread::available_parallelism().is_ok_and(|cores| 1 < cores.get()) {
        std::hint::spin_loop();
    } else {
        thread::yield_now();
    }
}

fn rtrb_single(count: u64) -> Duration {
    let (mut writer, mut reader) = rtrb::RingBuffer::<Descriptor>::new(SLOTS);
    race(
        count,
        |descriptor| writer.push(descriptor).is_ok(),
        |take| reader.pop().map(take).map_or(0, |()| 1),
    )
}

fn rtrb_chunks(count: u64) -> Duration {
    let (mut writer, mut reader) = rtrb::RingBuffer::<Descriptor>::new(SLOTS);
    let mut staged = Vec::with_capacity(CHUNK);
    let mut pushed = 0;
    race(
        count,
        |descriptor| {
            // One that was staged and refused comes again.
            if descriptor[0] == pushed {
                staged.push(descriptor);
                pushed += 1;
            }
            if staged.len() < CHUNK && pushed < count {
                return true;
            }
            let Ok(chunk) = writer.write_chunk_uninit(staged.len()) else { return false };
            chunk.fill_from_iter(staged.drain(..));
            true
        },
        |take| {
            let Ok(chunk) = reader.read_chunk(reader.slots()) else { return 0 };
            chunk.into_iter().map(take).count()
        },
    )
}

fn array_queue(count: u64) -> Duration {
    let queue = Arc::new(ArrayQueue::<Descriptor>::new(SLOTS));
    let other = Arc::clone(&queue);
    race(
        count,
        move |descriptor| queue.push(descriptor).is_ok(),
        move |take| other.pop().map(take).map_or(0, |()| 1),
    )
}

fn channel(count: u64) -> Duration {
    let (writer, reader) = crossbeam::channel::bounded::<Descriptor>(SLOTS);
    race(
        count,
        move |descriptor| writer.try_send(descriptor).is_ok(),
        move |take| reader.try_recv().ok().map(take).map_or(0, |()| 1),
    )
}

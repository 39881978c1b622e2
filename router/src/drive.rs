//! The loop of a data shard: turn, let the executor breathe, wait.
//!
//! ```text
//!            work                          no work
//!   TURN ----------> TURN      TURN ------------------> WAIT in the ring, 5 ms at most
//!                                 ^                       |  completion        | twice in vain
//!                                 +-----------------------+                    v
//!                                 +---- eventfd ---- PARK in the executor, at no cost
//! ```
//!
//! The shard is the one task of its executor. While there is traffic it waits in its own ring and
//! yields to nobody; when there is none it parks in the executor, woken by the eventfd registered
//! with the ring. Deadlines are kept by the ring itself, for executor timers are milliseconds late.
//!
//! This is the only code that waits on a data core.

use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, IntoRawFd as _};
use std::time::Duration;

use glommio::io::BufferedFile;

use crate::limits::IDLE_WAITS;
use crate::mesh::rest::Rest;
use crate::probe::ShardProbe;
use crate::ring::Waited;
use crate::shard::Shard;

/// Turns until the shard is stopped and its clients are gone.
pub async fn drive(mut shard: Shard, spin: Duration, probe: &ShardProbe) -> io::Result<()> {
    let parking = Parking::new(&shard)?;
    let mut idle_waits = 0;
    loop {
        let worked = shard.turn()?;
        if shard.switch.is_over() {
            return Ok(());
        }
        if shard.switch.mesh.is_waiting() || shard.wait().is_zero() {
            shard.ring.submit_and_run()?;
            continue;
        }
        if worked && !spin.is_zero() && spun(&mut shard, spin)? {
            continue;
        }
        idle_waits = match wait(&mut shard)? {
            Waited::Ready => 0,
            Waited::TimedOut => idle_waits + 1,
        };
        if IDLE_WAITS <= idle_waits {
            probe.parks.add(1);
            parking.park(&mut shard).await?;
            idle_waits = 0;
        }
    }
}

/// Polls shared memory, without system calls, for at most `spin`. True if something came.
fn spun(shard: &mut Shard, spin: Duration) -> io::Result<bool> {
    if shard.ring.wants_enter() {
        shard.ring.submit_and_run()?;
    }
    let until = shard.now() + spin;
    loop {
        if shard.ring.has_completions() || shard.switch.mesh.has_mail() {
            return Ok(true);
        }
        if shard.ring.wants_enter() {
            shard.ring.submit_and_run()?;
            return Ok(true);
        }
        if until <= shard.now() {
            return Ok(false);
        }
        (0..16).for_each(|_| std::hint::spin_loop());
    }
}

/// Waits in the ring, having said so to the other cores.
fn wait(shard: &mut Shard) -> io::Result<Waited> {
    let may_rest = shard.switch.mesh.bell().resting().rest(Rest::InRing);
    let waited = if !may_rest || shard.switch.mesh.has_mail() {
        shard.ring.submit_and_run()?;
        Waited::Ready
    } else {
        shard.ring.submit_and_wait(shard.wait())?
    };
    shard.switch.mesh.bell().resting().woke(Rest::InRing);
    Ok(waited)
}

/// Sleeping in the executor until the ring completes something.
struct Parking {
    eventfd: BufferedFile,
}

impl Parking {
    fn new(shard: &Shard) -> io::Result<Self> {
        let eventfd = shard.switch.mesh.bell().park_eventfd();
        shard.ring.register_eventfd(eventfd.as_fd())?;
        // SAFETY: the descriptor is a copy that is ours alone and is given up here; the file closes it.
        #[expect(unsafe_code, reason = "the executor awaits a foreign descriptor in no other way")]
        let eventfd = unsafe { BufferedFile::from_raw_fd(eventfd.try_clone()?.into_raw_fd()) };
        Ok(Self { eventfd })
    }

    async fn park(&self, shard: &mut Shard) -> io::Result<()> {
        shard.ring.notify(true);
        let may_rest = shard.switch.mesh.bell().resting().rest(Rest::Parked);
        shard.arm_timer()?;
        // What completed before the notification was on has to be seen here. One enter runs a bounded
        // share of what the kernel deferred, and only the first deferral of a list is notified.
        shard.ring.submit_and_run()?;
        let is_quiet = !shard.ring.has_completions() && !shard.ring.wants_enter();
        if may_rest && is_quiet && !shard.switch.mesh.has_mail() {
            let read = self.eventfd.read_at(0, size_of::<u64>()).await;
            read.map_err(|error| io::Error::other(error.to_string()))?;
        }
        shard.switch.mesh.bell().resting().woke(Rest::Parked);
        shard.ring.notify(false);
        shard.ring.submit_and_run()
    }
}

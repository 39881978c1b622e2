//! Subscriber: one connection whose deliveries are verified, or in request-reply answered.

use super::intake::Intake;
use super::link::{Drained, End, Link};
use crate::brief::{Brief, Exchange};
use crate::framing::{Delivery, What};

#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) number: u32,
    pub(super) link: Link,
}

impl Subscriber {
    pub(super) fn new(number: u32, link: Link) -> Self {
        Self { number, link }
    }

    /// Takes what has arrived.
    pub(super) fn receive(
        &mut self,
        brief: &Brief,
        intake: &mut Intake<'_>,
    ) -> Result<Drained, End> {
        let number = self.number;
        let mut buffer = intake.take_buffer();
        let drained = self.link.receive(&mut buffer, |link, bytes| {
            intake.start_chunk();
            let at = match brief.exchange {
                Exchange::OneWay => verify(number, bytes, brief, intake, link)?,
                Exchange::RoundTrip { .. } => answer(number, bytes, brief, intake, link)?,
            };
            Ok(at)
        });
        intake.return_buffer(buffer);
        drained
    }
}

/// The hot loop. Returns the bytes of whole frames.
fn verify(
    number: u32,
    bytes: &[u8],
    brief: &Brief,
    intake: &mut Intake<'_>,
    link: &mut Link,
) -> Result<usize, End> {
    let mut at = 0;
    while let Some(inbound) =
        brief.delivery.next(&bytes[at..]).map_err(|why| End::NotAFrame { why })?
    {
        at += inbound.bytes;
        match inbound.what {
            What::Delivery(delivery) => intake.take_delivery(number, &delivery),
            What::Control(control) => intake.take_control(control, link)?,
        }
    }
    Ok(at)
}

/// Sends every request's payload back, all in one write.
fn answer(
    number: u32,
    bytes: &[u8],
    brief: &Brief,
    intake: &mut Intake<'_>,
    link: &mut Link,
) -> Result<usize, End> {
    let mut at = 0;
    while let Some(inbound) =
        brief.delivery.next(&bytes[at..]).map_err(|why| End::NotAFrame { why })?
    {
        at += inbound.bytes;
        match inbound.what {
            What::Delivery(delivery) => {
                intake.take_request(number, &delivery);
                let Delivery { reply, payload, .. } = delivery;
                brief.framing.put_publish(reply, &[], payload, link.outbox());
            }
            What::Control(control) => intake.take_control(control, link)?,
        }
    }
    link.flush();
    Ok(at)
}

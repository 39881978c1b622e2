//! Room, batches, and what a lost connection leaves for the next.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use mpreg_proto::frame::{Data, Publish};

use super::*;

/// Every message of these tests has a frame this long.
const FRAME_BYTES: u32 = 20;

fn put(number: u8) -> impl FnOnce(&mut Vec<u8>) {
    move |out| {
        Publish { topic: b"top", payload: &[number], ..Publish::default() }.put(out).unwrap();
    }
}

/// Appends if there is room.
fn publish(outbound: &Outbound, number: u8) -> bool {
    let mut room = pin!(outbound.room(FRAME_BYTES));
    match room.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(permit) => {
            outbound.append(permit.unwrap(), put(number)).unwrap();
            true
        }
        Poll::Pending => false,
    }
}

/// What a router would read, messages by their payload.
fn render(bytes: &[u8]) -> String {
    let mut parts = Vec::new();
    for_each_frame(bytes, |kind, frame| {
        if kind == Kind::Data {
            parts.push(Data::parse(frame).unwrap().payload()[0].to_string());
        } else {
            parts.push(format!("{kind:?}"));
        }
    });
    parts.join(" ")
}

fn open(bytes_max: u32) -> Outbound {
    let outbound = Outbound::new(bytes_max);
    outbound.open();
    outbound
}

#[test]
fn everything_that_waits_goes_in_one_batch() {
    let outbound = open(1000);
    let mut batch = Batch::default();
    assert_eq!(outbound.take(&mut batch), Taken::Nothing);
    for number in 0..5 {
        assert!(publish(&outbound, number));
    }
    assert_eq!(outbound.take(&mut batch), Taken::Bytes);
    assert_eq!(render(batch.rest()), "0 1 2 3 4");
    let count = batch.rest().len();
    outbound.wrote(&mut batch, count);
    assert_eq!(outbound.take(&mut batch), Taken::Nothing);
    assert_eq!(outbound.room.available_permits(), 1000);
}

#[test]
fn room_returns_as_bytes_are_written() {
    let outbound = open(2 * FRAME_BYTES);
    assert!(publish(&outbound, 1) && publish(&outbound, 2));
    assert!(!publish(&outbound, 3), "full");
    let mut batch = Batch::default();
    outbound.take(&mut batch);
    assert!(!publish(&outbound, 3), "taken is not written");
    outbound.wrote(&mut batch, FRAME_BYTES as usize - 1);
    assert!(!publish(&outbound, 3));
    outbound.wrote(&mut batch, 1);
    assert!(publish(&outbound, 3));
    assert!(!publish(&outbound, 4));
}

#[test]
fn a_message_larger_than_the_buffer_waits_for_all_of_it() {
    let outbound = open(FRAME_BYTES - 1);
    assert!(publish(&outbound, 1));
    assert!(!publish(&outbound, 2));
    let mut batch = Batch::default();
    outbound.take(&mut batch);
    let count = batch.rest().len();
    outbound.wrote(&mut batch, count);
    assert!(publish(&outbound, 2));
}

#[test]
fn a_close_between_asking_and_appending_is_told() {
    let outbound = open(FRAME_BYTES);
    let mut room = pin!(outbound.room(FRAME_BYTES));
    let Poll::Ready(Ok(permit)) = room.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("there is room");
    };
    outbound.finish();
    assert_eq!(outbound.append(permit, put(1)), Err(Closed));
    assert_eq!(outbound.take(&mut Batch::default()), Taken::Finished);
}

#[test]
fn while_held_nothing_is_taken() {
    let outbound = Outbound::new(1000);
    let mut batch = Batch::default();
    publish(&outbound, 1);
    assert_eq!(outbound.take(&mut batch), Taken::Nothing);
    outbound.open();
    assert_eq!(outbound.take(&mut batch), Taken::Bytes);
}

#[test]
fn while_the_router_leaves_only_messages_are_held() {
    let outbound = open(1000);
    let mut batch = Batch::default();
    outbound.hold();
    publish(&outbound, 1);
    assert_eq!(outbound.take(&mut batch), Taken::Nothing);
    let room = pin!(outbound.room(100)).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Ok(room)) = room else { panic!("there is room") };
    outbound.append(room, |out| Frame::Ping { token: 7 }.put(out)).unwrap();
    publish(&outbound, 2);
    assert_eq!(outbound.take(&mut batch), Taken::Bytes);
    assert_eq!(render(batch.rest()), "Ping");
    let count = batch.rest().len();
    outbound.wrote(&mut batch, count);
    assert_eq!(outbound.take(&mut batch), Taken::Nothing);
    assert_eq!(outbound.room.available_permits(), 1000 - 2 * FRAME_BYTES as usize);
    outbound.put_back(&mut batch);
    outbound.append_pong(8);
    assert_eq!(outbound.take(&mut batch), Taken::Nothing, "nothing goes where nobody is");
    outbound.open();
    assert_eq!(outbound.take(&mut batch), Taken::Bytes);
    assert_eq!(render(batch.rest()), "1 2 Pong");
}

#[test]
fn a_lost_connection_leaves_what_it_had_not_taken_whole() {
    let outbound = open(1000);
    publish(&outbound, 1);
    publish(&outbound, 2);
    outbound.append_control(&{
        let mut ping = Vec::new();
        Frame::Ping { token: 7 }.put(&mut ping);
        ping
    });
    publish(&outbound, 3);
    let mut batch = Batch::default();
    outbound.take(&mut batch);
    outbound.wrote(&mut batch, FRAME_BYTES as usize + 1);
    publish(&outbound, 4);
    outbound.append_pong(8);

    outbound.put_back(&mut batch);
    assert_eq!(outbound.take(&mut batch), Taken::Nothing, "held until the next connection");
    outbound.open();
    assert_eq!(outbound.take(&mut batch), Taken::Bytes);
    assert_eq!(render(batch.rest()), "2 3 4");
    let count = batch.rest().len();
    outbound.wrote(&mut batch, count);
    assert_eq!(outbound.room.available_permits(), 1000);
}

#[test]
fn losing_connections_over_and_over_keeps_the_room_right() {
    fastrand::seed(7);
    let outbound = Outbound::new(10 * FRAME_BYTES);
    let mut batch = Batch::default();
    for _ in 0..10_000 {
        match fastrand::u32(0..6) {
            0 | 1 => drop(publish(&outbound, 1)),
            2 => {
                outbound.open();
                if batch.rest().is_empty() {
                    outbound.take(&mut batch);
                }
            }
            3 if !batch.rest().is_empty() => {
                let count = fastrand::usize(1..=batch.rest().len());
                outbound.wrote(&mut batch, count);
            }
            3 => outbound.append_pong(1),
            4 => {
                outbound.hold();
                if batch.rest().is_empty() {
                    outbound.take(&mut batch);
                }
            }
            _ => outbound.put_back(&mut batch),
        }
        let state = outbound.lock();
        let out = 10 * FRAME_BYTES as usize - outbound.room.available_permits();
        assert_eq!(out, state.charged + batch.charged);
    }
    outbound.open();
    while !batch.rest().is_empty() || outbound.take(&mut batch) == Taken::Bytes {
        outbound.wrote(&mut batch, 1);
    }
    assert_eq!(outbound.room.available_permits(), 10 * FRAME_BYTES as usize);
}

#[test]
fn pongs_are_bounded_until_they_are_taken() {
    let outbound = open(1000);
    let mut batch = Batch::default();
    for _ in 0..2 {
        for token in 0..3 * u64::from(PONGS_WAITING_MAX) {
            outbound.append_pong(token);
        }
        outbound.take(&mut batch);
        let pong_bytes = 16;
        assert_eq!(batch.rest().len(), PONGS_WAITING_MAX as usize * pong_bytes);
        let count = batch.rest().len();
        outbound.wrote(&mut batch, count);
    }
}

#[test]
fn finishing_refuses_messages_and_hangs_up_when_all_is_written() {
    let outbound = open(1000);
    let mut batch = Batch::default();
    publish(&outbound, 1);
    outbound.finish();
    let mut room = pin!(outbound.room(FRAME_BYTES));
    let refused = room.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(refused, Poll::Ready(Err(Closed))));
    assert_eq!(outbound.take(&mut batch), Taken::Bytes);
    let count = batch.rest().len();
    outbound.wrote(&mut batch, count);
    assert_eq!(outbound.take(&mut batch), Taken::Finished);
}

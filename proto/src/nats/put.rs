//! What is written: messages to subscribers, and a client's side for load generators.
//!
//! Nothing is formatted but numbers, and nothing is looked at: names are the caller's, checked when
//! they came.

use alloc::vec::Vec;

/// Appends `MSG`, or with headers `HMSG`, as one subscriber gets it.
#[inline]
pub fn put_message(
    out: &mut Vec<u8>,
    subject: &[u8],
    reply: &[u8],
    headers: &[u8],
    payload: &[u8],
    sid: &[u8],
) {
    put_head(out, !headers.is_empty(), subject, sid);
    put_tail(out, reply, headers, payload);
}

/// Appends `MSG`, or `HMSG`, whose tail is at hand.
#[inline]
pub fn put_with_tail(out: &mut Vec<u8>, is_headed: bool, subject: &[u8], sid: &[u8], tail: &[u8]) {
    out.reserve(HEAD_BYTES + subject.len() + sid.len() + tail.len());
    put_head(out, is_headed, subject, sid);
    out.extend_from_slice(tail);
}

/// `HMSG `, and a space after subject and sid each.
const HEAD_BYTES: usize = 7;

/// Appends `MSG <subject> <sid> `, or `HMSG`: the same for all messages of a subject to a subscriber.
#[inline]
pub fn put_head(out: &mut Vec<u8>, is_headed: bool, subject: &[u8], sid: &[u8]) {
    out.reserve(HEAD_BYTES + subject.len() + sid.len());
    out.extend_from_slice(if is_headed { b"HMSG " } else { b"MSG " });
    out.extend_from_slice(subject);
    out.push(b' ');
    out.extend_from_slice(sid);
    out.push(b' ');
}

/// Two numbers, three spaces between words, two ends of line.
const TAIL_BYTES: usize = 2 * DIGITS_BYTES + 6;

/// Appends what follows `MSG <subject> <sid> `: the same for all subscribers of a message.
#[inline]
pub fn put_tail(out: &mut Vec<u8>, reply: &[u8], headers: &[u8], payload: &[u8]) {
    out.reserve(TAIL_BYTES + reply.len() + headers.len() + payload.len());
    if !reply.is_empty() {
        out.extend_from_slice(reply);
        out.push(b' ');
    }
    if !headers.is_empty() {
        put_number(out, headers.len());
        out.push(b' ');
    }
    put_number(out, headers.len() + payload.len());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// Appends `PUB`, or with headers `HPUB`.
#[inline]
pub fn put_publish(
    out: &mut Vec<u8>,
    subject: &[u8],
    reply: &[u8],
    headers: &[u8],
    payload: &[u8],
) {
    out.reserve(HEAD_BYTES + TAIL_BYTES + subject.len() + headers.len() + payload.len());
    out.extend_from_slice(if headers.is_empty() { b"PUB " } else { b"HPUB " });
    out.extend_from_slice(subject);
    out.push(b' ');
    put_tail(out, reply, headers, payload);
}

/// Appends `CONNECT`; `options` is JSON.
pub fn put_connect(out: &mut Vec<u8>, options: &[u8]) {
    put_line(out, &[b"CONNECT", options]);
}

/// Appends `SUB`; an empty group is none.
pub fn put_subscribe(out: &mut Vec<u8>, subject: &[u8], group: &[u8], sid: &[u8]) {
    if group.is_empty() {
        put_line(out, &[b"SUB", subject, sid]);
    } else {
        put_line(out, &[b"SUB", subject, group, sid]);
    }
}

/// Appends `UNSUB`; zero deliveries end the subscription at once.
pub fn put_unsubscribe(out: &mut Vec<u8>, sid: &[u8], deliveries: u32) {
    if deliveries == 0 {
        put_line(out, &[b"UNSUB", sid]);
    } else {
        let mut digits = [0; DIGITS_BYTES];
        let digits = decimal(deliveries as usize, &mut digits);
        put_line(out, &[b"UNSUB", sid, digits]);
    }
}

fn put_line(out: &mut Vec<u8>, words: &[&[u8]]) {
    for (at, word) in words.iter().enumerate() {
        if at != 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
    out.extend_from_slice(b"\r\n");
}

/// Digits of the largest u64.
const DIGITS_BYTES: usize = 20;

#[inline]
fn put_number(out: &mut Vec<u8>, number: usize) {
    let mut digits = [0; DIGITS_BYTES];
    out.extend_from_slice(decimal(number, &mut digits));
}

/// `number` in decimal, at the end of `digits`.
#[inline]
fn decimal(mut number: usize, digits: &mut [u8; DIGITS_BYTES]) -> &[u8] {
    let mut at = DIGITS_BYTES;
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

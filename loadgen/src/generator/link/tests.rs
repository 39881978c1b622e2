//! Tests of links, on socket pairs.

use std::os::unix::net::UnixStream;

use super::*;

/// A link and the other side of its connection.
fn pair() -> (Link, UnixStream, OwnedFd) {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let parts = (Stream::Unix(ours), Vec::new());
    (Link::new(parts, Framing::Native, &epoll, 0).unwrap(), theirs, epoll)
}

fn receive(link: &mut Link, inbox: &mut [u8], taken: &mut Vec<u8>) -> Result<Drained, End> {
    link.receive(inbox, |_, bytes| {
        // Frames of four bytes.
        let used = bytes.len() / 4 * 4;
        taken.extend_from_slice(&bytes[..used]);
        Ok(used)
    })
}

#[test]
fn what_the_socket_did_not_take_goes_out_when_it_has_room() {
    let (mut link, mut theirs, epoll) = pair();
    let bytes: Vec<u8> = (0..4_000_000u32).map(|n| n as u8).collect();
    link.send(&bytes);
    assert!(link.is_blocked());
    link.settle(&epoll);
    let mut got = vec![0; bytes.len()];
    let mut at = 0;
    while at < got.len() {
        at += theirs.read(&mut got[at..]).unwrap();
        link.heed(epoll::EventFlags::OUT);
    }
    assert!(!link.is_blocked() && got == bytes);
}

#[test]
fn half_a_frame_waits_for_its_other_half() {
    let (mut link, mut theirs, _epoll) = pair();
    let (mut inbox, mut taken) = (vec![0; 64], Vec::new());
    for (written, want) in [(&b"abcdef"[..], &b"abcd"[..]), (b"g", b"abcd"), (b"h", b"abcdefgh")] {
        theirs.write_all(written).unwrap();
        assert_eq!(receive(&mut link, &mut inbox, &mut taken), Ok(Drained::Yes));
        assert_eq!(taken, want);
    }
}

#[test]
fn an_inbox_filled_again_and_again_leaves_the_rest_for_later() {
    let (mut link, mut theirs, _epoll) = pair();
    let (mut inbox, mut taken) = (vec![0; 64], Vec::new());
    theirs.write_all(&[7; 64 * READS_MAX + 8]).unwrap();
    assert_eq!(receive(&mut link, &mut inbox, &mut taken), Ok(Drained::No));
    assert_eq!(receive(&mut link, &mut inbox, &mut taken), Ok(Drained::Yes));
    assert_eq!(taken.len(), 64 * READS_MAX + 8);
}

#[test]
fn a_frame_longer_than_the_inbox_ends_the_link() {
    let (mut link, mut theirs, _epoll) = pair();
    theirs.write_all(&[7; 200]).unwrap();
    let end = link.receive(&mut [0; 64], |_, _| Ok(0));
    assert_eq!(end, Err(End::NotAFrame { why: "longer than any expected" }));
}

#[test]
fn an_end_is_told_once_whether_reading_or_writing_met_it() {
    let (mut inbox, mut taken) = (vec![0; 64], Vec::new());
    let (mut link, theirs, _epoll) = pair();
    drop(theirs);
    assert_eq!(receive(&mut link, &mut inbox, &mut taken), Err(End::Closed));
    assert_eq!(receive(&mut link, &mut inbox, &mut taken), Ok(Drained::Yes));
    let (mut link, theirs, _epoll) = pair();
    drop(theirs);
    link.send(b"abcd");
    assert!(link.is_blocked());
    let end = Err(End::Io(ErrorKind::BrokenPipe));
    assert_eq!(receive(&mut link, &mut inbox, &mut taken), end);
    assert_eq!(receive(&mut link, &mut inbox, &mut taken), Ok(Drained::Yes));
}

#[test]
fn bytes_before_the_end_are_taken_before_it_is_told() {
    let (mut link, mut theirs, _epoll) = pair();
    let (mut inbox, mut taken) = (vec![0; 64], Vec::new());
    theirs.write_all(b"abcd").unwrap();
    drop(theirs);
    link.heed(epoll::EventFlags::IN | epoll::EventFlags::RDHUP);
    assert_eq!(receive(&mut link, &mut inbox, &mut taken), Err(End::Closed));
    assert_eq!(taken, b"abcd");
}
